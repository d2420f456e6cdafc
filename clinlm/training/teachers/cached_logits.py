"""Combined teacher logits."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError
from clinlm.models.artifact import Artifact
from clinlm.store.arrays import disk_array
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet
from clinlm.training.teachers.base import Measured, TeacherSource
from clinlm.training.teachers.ensemble import Ensemble
from clinlm.training.teachers.logit_combination import LogitCombination, Logits
from clinlm.training.teachers.mean_logits import MeanLogits

_SLICE: Final = 4096
"""Units whose logits are combined at once."""


def teacher_logits(
    members: Sequence[TeacherSource],
    ensemble: Ensemble | None,
    task: Task,
    precision: str,
    transfer: TransferSet | None = None,
) -> Float[Any, "units_and_texts outputs"]:
    """Return the combined logits of the teachers for every training document and every text of a transfer set.

    The logits of every member are computed once and cached; combining them is array arithmetic. So a student trains as
    fast with eight teachers as with one.

    Args:
        members: at least one.
        ensemble: how several are combined; None for the mean of their logits.
        precision: of the members' computation, as Lightning names it.

    Returns:
        a tensor: row i for unit i of the task, zeros outside of training; then a row for every unit of the texts.
    """
    import torch  # here, because a report combines what its teachers wrote, without it

    assert task.folder is not None
    rule = fit_combination(members, ensemble, task)
    # Texts first: a cross-fitted teacher caches the training documents in the same pass.
    texts = [] if transfer is None else [member.transfer_logits(task, precision, transfer) for member in members]
    trained = [member.training_logits(task, precision) for member in members]
    units, more = len(task.examples.targets), len(texts[0]) if texts else 0
    found = disk_array(task.folder.parent, (units + more, task.outputs), np.float32)
    _fill(found, task.examples.units("train"), rule, trained)
    _fill(found, np.arange(units, units + more), rule, texts)
    return torch.from_numpy(found)


def _fill(
    found: Float[np.ndarray, "units outputs"],
    rows: Int[np.ndarray, " some"],
    rule: LogitCombination,
    logits: Sequence[Float[np.ndarray, "some outputs"]],
) -> None:
    """Write the combined logits into some rows, slice by slice: those of the members are mapped."""
    for start in range(0, len(rows), _SLICE):
        part = slice(start, start + _SLICE)
        found[rows[part]] = rule.combine(np.stack([own[part] for own in logits]))


def fit_combination(members: Sequence[TeacherSource], ensemble: Ensemble | None, task: Task) -> LogitCombination:
    """Return the rule that combines `members`, fitted on validation; a single member keeps its logits bit by bit.

    Arguments as `teacher_logits`.

    Raises:
        ConfigError: there is no member.
    """
    if not members:
        raise ConfigError("an ensemble must have a member, got none; name a teacher")
    if len(members) == 1:
        return LogitCombination(lambda logits: logits[0], np.ones((1, task.outputs)))
    validation = np.stack([member.split_logits(task, "validation") for member in members])
    targets = task.examples.targets[task.examples.units("validation")]
    return (ensemble or MeanLogits()).fit(validation, targets, task.kind)


def ensemble_logits(members: Sequence[TeacherSource], rule: LogitCombination, task: Task, split: Measured) -> Logits:
    """Return the logits of an ensemble for the documents of `validation` or `test`."""
    return rule.combine(np.stack([member.split_logits(task, split) for member in members]))


def networks(members: Sequence[TeacherSource]) -> list[Artifact]:
    """Return the artifacts of the members that have a network, in their order."""
    return [member.artifact for member in members if member.artifact is not None]
