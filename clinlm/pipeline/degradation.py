"""What a compressed model lost against its original: quality, equal decisions, and the gaps between subgroups."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from clinlm.metrics.estimate import Estimate
from clinlm.metrics.subgroups import subgroups
from clinlm.models.artifact import Artifact
from clinlm.tasks.base import Task


@final
@dataclass(frozen=True)
class Changes:
    """Differences between two models on the same documents, with 95 % intervals of paired resamples.

    Attributes:
        losses: metric of `clinlm.metrics.classification` -> original minus compressed; above 0 where quality was lost.
        agreement: share of decisions that are equal (documents x labels; documents, where each has exactly one label;
            words, where entities are found).
        gaps: attribute -> growth of the gap between its best and its worst subgroup; above 0 where it widened.
        notices: attributes that could not be judged, and why.
    """

    losses: Mapping[str, Estimate]
    agreement: Estimate
    gaps: Mapping[str, Estimate]
    notices: tuple[str, ...] = ()


def measure(
    task: Task,
    original: Artifact,
    artifact: Artifact,
    split: str,
    resamples: int = 1000,
    by_group: bool = True,
    smallest_subgroup: int = 30,
    seed: int = 0,
) -> Changes:
    """Compare the stored predictions of two artifacts. Nothing is run; thresholds are each model's own, of validation.

    The gap of an attribute is that of micro F1 between its best and its worst subgroup: of decisions, and defined
    whichever labels a subgroup lacks.

    Args:
        task: opened.
        original: before compression.
        artifact: after it.
        split: `validation` or `test`.
        resamples: of the bootstrap.
        by_group: draw whole groups (patients) and not documents.
        smallest_subgroup: documents that a subgroup needs to be compared.
        seed: of the draw.
    """
    frame = task.examples.frame[task.examples.members(split)]
    groups = frame["group"].to_numpy() if by_group else None
    how: dict[str, Any] = {"resamples": resamples, "seed": seed, "groups": groups}
    fitted = [task.fit_thresholds(task.probabilities(one.predictions("validation"))) for one in (original, artifact)]
    a, b = (
        task.evaluate(split, task.probabilities(one.predictions(split)), own)
        for one, own in zip((original, artifact), fitted, strict=True)
    )
    differences = b.difference(a, **how)
    found: dict[str, Estimate] = {}
    attributes, notices = subgroups(frame["attributes"])
    if not attributes:
        notices.append("fairness not judged: the corpus has no attributes that make subgroups")
    for name, column in attributes.items():
        growth = b.gap(a, column, smallest_subgroup, **how)
        if math.isnan(growth.value):
            notices.append(f"fairness by {name} not judged: fewer than two subgroups of {smallest_subgroup} documents")
        else:
            found[name] = growth
    return Changes(
        {name: Estimate(0.0 - one.value, 0.0 - one.high, 0.0 - one.low) for name, one in differences.items()},
        b.alike(b.agreement(a, **how)),
        found,
        tuple(notices),
    )
