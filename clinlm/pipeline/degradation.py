"""What a compressed model lost against its original: quality, equal decisions, and gaps between subgroups."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from clinlm.config.errors import DataError
from clinlm.metrics.bootstrap import Interval, resample
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.fairness import subgroups
from clinlm.metrics.prediction_sets import LEVEL
from clinlm.metrics.scored_answers import ScoredAnswers
from clinlm.metrics.uncertainty import level_values
from clinlm.models.artifact import Artifact
from clinlm.pipeline.uncertainty import scored_answers
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8

log = logging.getLogger(__name__)


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
        margin: a metric of the compressed model minus its floor; None where there is no floor.
        shortfalls: what is covered -> nominal minus measured coverage of the compressed model, at `LEVEL`; above 0
            where less is covered than promised. Empty where it was not asked for.
        growth: mean size of the sets of the compressed model over that of the original, minus 1; None likewise.
    """

    losses: Mapping[str, Interval]
    agreement: Interval
    gaps: Mapping[str, Interval]
    notices: tuple[str, ...] = ()
    margin: Interval | None = None
    shortfalls: Mapping[str, Interval] = field(default_factory=dict)
    growth: Interval | None = None


@final
@dataclass(frozen=True)
class Floor:
    """The least quality of a model by itself, whatever its original has.

    Attributes:
        metric: key of `clinlm.metrics.classification.METRICS`.
        value: in [0, 1]; None for that of TF-IDF on the same documents: the better of whole and INT8.
    """

    metric: str
    value: float | None

    def __str__(self) -> str:
        return f"floor ({self.metric} {'of the better TF-IDF' if self.value is None else f'{100 * self.value:.2f}'})"

    def margin(self, task: Task, model: Artifact, split: str, **sampling: Any) -> Interval:
        """Return the metric of a model minus the floor; undefined where TF-IDF cannot be fitted.

        Args:
            sampling: of the bootstrap.
        """
        own = _evaluate(task, model, split)
        if self.value is not None:
            found = own.intervals(**sampling)[self.metric]
            return Interval(*(end - self.value for end in (found.value, found.low, found.high)))
        try:
            baselines = [_evaluate_baseline(task, member, split) for member in (Tfidf.of(task), TfidfInt8.of(task))]
        except DataError as reason:
            log.warning("the floor of the gate is undefined: %s", reason)
            return Interval(math.nan, math.nan, math.nan)
        better = max(baselines, key=lambda baseline: baseline.quality()[self.metric])
        return own.difference(better, **sampling)[self.metric]


def measure_degradation(
    task: Task,
    original: Artifact,
    compressed: Artifact,
    split: str,
    resamples: int = 1000,
    by_group: bool = True,
    smallest_subgroup: int = 30,
    seed: int = 0,
    floor: Floor | None = None,
    sets: bool = False,
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
        floor: of the compressed model; None for none.
        sets: measure coverage and size of the prediction sets as well.
    """
    frame = task.examples.frame[task.examples.members(split)]
    sampling = bootstrap(task, split, resamples, by_group, seed)
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
        None if floor is None else floor.margin(task, compressed, split, **sampling),
        *(_sets(task, original, compressed, split, sampling) if sets else ()),
    )


def _sets(
    task: Task, original: Artifact, compressed: Artifact, split: str, sampling: dict[str, Any]
) -> tuple[dict[str, Interval], Interval]:
    """Return the shortfalls of coverage of the compressed model, and the growth of its sets.

    On validation the sets are crossed: either half of the groups is judged by thresholds fitted on the other half.
    """
    before, after = (_answers(task, artifact, split) for artifact in (original, compressed))
    weights = resample(len(before.group), **sampling)
    sizes, values = (level_values(own, LEVEL, weights) for own in (before, after))
    covered = {
        "true labels": after.set_coverage(after.sets[LEVEL].possible).intervals()[0],
        "notes with a label": Interval.percentile(values["present"]),
    }
    if task.kind == "multilabel":
        covered["notes without it"] = Interval.percentile(values["absent"])
    own, reference = values["set_size"], sizes["set_size"]
    growth = np.divide(own, reference, out=np.full_like(own, np.nan), where=reference > 0) - 1
    shortfalls = {name: Interval(*(LEVEL - end for end in (c.value, c.high, c.low))) for name, c in covered.items()}
    return shortfalls, Interval.percentile(growth)


def _answers(task: Task, artifact: Artifact, split: str) -> ScoredAnswers:
    config = InferenceConfig.load(artifact.folder)
    validation = config.probabilities(artifact.predictions("validation"))
    conformal = config.conformal or task.fit_conformal(validation)
    probabilities = validation if split == "validation" else config.probabilities(artifact.predictions(split))
    return scored_answers(task, split, probabilities, config.thresholds, conformal)


def bootstrap(task: Task, split: str, resamples: int, by_group: bool, seed: int) -> dict[str, Any]:
    """Return resamples, seed and groups of the documents of a split, as intervals need them."""
    groups = task.examples.frame["group"].gather(task.examples.members(split)).to_numpy() if by_group else None
    return {"resamples": resamples, "seed": seed, "groups": groups}


def _evaluate_baseline(task: Task, member: Tfidf | TfidfInt8, split: str) -> Evaluation:
    member.fitted(task)
    config = InferenceConfig.load(member.folder)
    logits = member.split_logits(task, "test" if split == "test" else "validation")
    return task.evaluate(split, config.probabilities(logits), config.thresholds)


def _evaluate(task: Task, artifact: Artifact, split: str) -> Evaluation:
    config = InferenceConfig.load(artifact.folder)
    return task.evaluate(split, config.probabilities(artifact.predictions(split)), config.thresholds)
