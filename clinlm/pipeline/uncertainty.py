"""Answers of models with prediction sets, from the documents of a task."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from clinlm.metrics.conformal import ConformalThresholds
from clinlm.metrics.decisions import Thresholds
from clinlm.metrics.scored_answers import ScoredAnswers
from clinlm.tasks.base import Task


def scored_answers(
    task: Task,
    split: str,
    probabilities: Float[np.ndarray, "units outputs"],
    thresholds: Thresholds,
    conformal: Sequence[ConformalThresholds],
) -> ScoredAnswers:
    """Return the answers of a model to a split.

    Args:
        split: of validation the sets are crossed, since its documents calibrated the stored thresholds; see
            `ScoredAnswers.of`.
        probabilities: of the units of the split, in their order.
        conformal: thresholds fitted on validation.
    """
    members, start = task.examples.members(split), task.examples.unit_start
    units = np.ones(len(members), np.int64) if start is None else np.diff(start)[members]
    return ScoredAnswers.of(
        np.asarray(probabilities, dtype=np.float64),
        task.examples.targets[task.examples.units(split)],
        thresholds,
        np.repeat(np.arange(len(members)), units),
        task.examples.frame["group"].gather(members).to_numpy(),
        task.examples.labels,
        task.kind,
        None if split == "validation" else conformal,
    )
