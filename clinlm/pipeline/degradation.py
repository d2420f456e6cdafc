"""What a compressed model lost against its original: quality, equal decisions, and gaps between subgroups."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.fairness import subgroups
from clinlm.models.artifact import Artifact
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig


@final
@dataclass(frozen=True)
class Degradation:
    """Differences between two models on the same documents, with 95 % intervals of paired resamples.

    Attributes:
        losses: metric of `clinlm.metrics.classification` -> original minus compressed; above 0 where quality was lost.
        agreement: share of equal decisions (documents x labels; documents, where each has exactly one label; words,
            where entities are found).
        gaps: attribute -> growth of the gap between its best and its worst subgroup; above 0 where it widened.
        notices: attributes that were not measured, and why.
    """

    losses: Mapping[str, Interval]
    agreement: Interval
    gaps: Mapping[str, Interval]
    notices: tuple[str, ...] = ()


def measure_degradation(
    task: Task,
    original: Artifact,
    compressed: Artifact,
    split: str,
    resamples: int = 1000,
    by_group: bool = True,
    smallest_subgroup: int = 30,
    seed: int = 0,
) -> Degradation:
    """Compare the stored predictions of two artifacts; nothing is run. Each has the thresholds that it is served with.

    The gap of an attribute is that of micro F1 between its best and its worst subgroup: micro F1 is of decisions, and
    defined whichever labels a subgroup lacks.

    Args:
        original: before compression.
        compressed: after it.
        split: `validation` or `test`.
        by_group: draw whole groups (patients) instead of documents.
        smallest_subgroup: documents that a subgroup needs to be compared.
    """
    frame = task.examples.frame[task.examples.members(split)]
    groups = frame["group"].to_numpy() if by_group else None
    sampling: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": groups}
    before, after = (_evaluate(task, artifact, split) for artifact in (original, compressed))
    differences = after.difference(before, **sampling)
    gaps: dict[str, Interval] = {}
    attributes, notices = subgroups(frame["attributes"])
    if not attributes:
        notices.append("fairness not measured: the corpus has no attributes that make subgroups")
    for name, column in attributes.items():
        growth = after.gap(before, column, smallest_subgroup, **sampling)
        if math.isnan(growth.value):
            notices.append(
                f"fairness by {name} not measured: fewer than two subgroups of {smallest_subgroup} documents"
            )
        else:
            gaps[name] = growth
    return Degradation(
        {name: Interval(0.0 - d.value, 0.0 - d.high, 0.0 - d.low) for name, d in differences.items()},
        after.alike(after.agreement(before, **sampling)),
        gaps,
        tuple(notices),
    )


def _evaluate(task: Task, artifact: Artifact, split: str) -> Evaluation:
    config = InferenceConfig.load(artifact.folder)
    return task.evaluate(split, config.probabilities(artifact.predictions(split)), config.thresholds)
