"""What a stage learns from: the logits of its teachers, combined into those of one."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clinlm.models.artifact import Artifact
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.teachers.base import Measured, TeacherSource
from clinlm.training.teachers.ensemble import Ensemble
from clinlm.training.teachers.logit_combination import LogitCombination, Logits
from clinlm.training.teachers.mean_logits import MeanLogits


def teacher_logits(
    members: Sequence[TeacherSource],
    ensemble: Ensemble | None,
    task: Task,
    precision: str,
    transfer: TransferSet | None = None,
) -> Float[Tensor, "units_and_texts outputs"]:
    """Return what the teachers, as one, say of every training document, and of every text of a transfer set below.

    Every member is asked once, and its answers kept; the combination is a sum over arrays. So eight teachers cost a
    student in training nothing more than one.

    Args:
        members: at least one.
        ensemble: how several are combined; None for the mean of their logits.
        task: opened.
        precision: that members compute in, in Lightning's words.
        transfer: texts without labels.

    Returns:
        row i for unit i of the task, zeros for those of validation and test; then row by row those of the texts.
    """
    found = torch.zeros(len(task.examples.targets), task.outputs)
    rule = fit_combination(members, ensemble, task)
    # Texts first: who answers them by cross-fitting answers the training documents in the same pass.
    texts = None if transfer is None else np.stack([one.transfer_logits(task, precision, transfer) for one in members])
    trained = rule.combine(np.stack([one.training_logits(task, precision) for one in members]))
    found[torch.from_numpy(task.examples.units("train"))] = torch.from_numpy(trained).float()
    return found if texts is None else torch.cat([found, torch.from_numpy(rule.combine(texts)).float()])


def fit_combination(members: Sequence[TeacherSource], ensemble: Ensemble | None, task: Task) -> LogitCombination:
    """Return the rule that makes one teacher of `members`, fitted on validation; a member alone is itself, to the bit.

    Arguments as `teacher_logits`.

    Raises:
        ValueError: there is no member.
    """
    if not members:
        raise ValueError("an ensemble has a member; none came; name a teacher")
    if len(members) == 1:
        return LogitCombination(lambda logits: logits[0], np.ones((1, task.outputs)))
    validation = np.stack([one.split_logits(task, "validation") for one in members])
    targets = task.examples.targets[task.examples.units("validation")]
    return (ensemble or MeanLogits()).fit(validation, targets, task.kind)


def ensemble_logits(members: Sequence[TeacherSource], rule: LogitCombination, task: Task, split: Measured) -> Logits:
    """Return the logits of an ensemble for the documents of `validation` or `test`."""
    return rule.combine(np.stack([one.split_logits(task, split) for one in members]))


def networks(members: Sequence[TeacherSource]) -> list[Artifact]:
    """Return the members that are networks, in their order: to begin from, or to learn from the inside of."""
    return [one.artifact for one in members if one.artifact is not None]
