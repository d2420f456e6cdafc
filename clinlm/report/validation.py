"""Validation of a compressed model against its original: everything on the same documents, paired."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from clinlm.metrics.agreement import Agreement, measure_agreement
from clinlm.metrics.bootstrap import Interval, differences
from clinlm.metrics.calibration import BINS, Calibration, calibration_change, fit_temperature, measure_calibration
from clinlm.metrics.classification import quality, weighted_quality
from clinlm.metrics.decisions import apply_thresholds
from clinlm.metrics.disagreements import (
    Feature,
    Pattern,
    length_bands,
    listing,
    mask_features,
    patterns,
    value_features,
)
from clinlm.metrics.fairness import Fairness, Subgroups, gaps, subgroups
from clinlm.report.results import ModelResult
from clinlm.report.settings import ReportSettings
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig, label_kind
from clinlm.text.sections import section_masks
from clinlm.text.stored_tokenizer import TOKENIZER, StoredTokenizer

ValidationLogits = Float[np.ndarray, "validation outputs"]
TestLogits = Float[np.ndarray, "test outputs"]


@final
@dataclass(frozen=True)
class ModelLogits:
    """Logits of a model for the documents of a task, from `Artifact.predictions`.

    Attributes:
        validation: logits of the validation documents: thresholds and temperatures come from them.
        test: logits of the test documents, which everything else is computed from.
    """

    name: str
    validation: ValidationLogits
    test: TestLogits


@final
@dataclass(frozen=True)
class ValidationSettings:
    """Settings of a validation.

    Attributes:
        metric: key of METRICS that subgroups are compared by.
        minimum_documents: fewest documents of a subgroup that counts in a gap.
        bins: of the calibration error.
        resamples: of every bootstrap.
        by_group: resample whole groups (patients), as notes of one patient are not independent; documents otherwise.
        seed: of the draws.
    """

    metric: str = "macro_f1"
    minimum_documents: int = 30
    bins: int = BINS
    resamples: int = 1000
    by_group: bool = True
    seed: int = 0


@final
@dataclass(frozen=True)
class MetricDrop:
    """Change of one metric by compression.

    Attributes:
        original: its value, in [0, 1].
        compressed: its value.
        change: compressed - original, paired, with interval and p; negative for a loss.
        percent: the change in per cent of the original's value, with the interval of `change` in the same unit.
    """

    original: float
    compressed: float
    change: Interval
    percent: Interval


@final
@dataclass(frozen=True)
class Validation:
    """Comparison of a compressed model with its original on the same test documents.

    Attributes:
        original: name.
        compressed: name.
        kind: of the task.
        labels: of the task.
        documents: of the test split.
        units: groups drawn by the bootstrap; the number of documents where it draws documents.
        drops: by metric.
        agreement: of the decisions.
        calibration: by model, and `compressed, tempered`: the compressed model with its temperature.
        calibration_change: `ece` and `brier`, compressed - original.
        temperatures: fitted on validation, by model; applied in `compressed, tempered` only.
        fairness: by attribute.
        patterns: of disagreement, sorted by adjusted p.
        disagreements: one line for every decision that differs; see `clinlm.metrics.disagreements.listing`.
        settings: of the validation.
        notices: what was left out, and why.
    """

    original: str
    compressed: str
    kind: Literal["multilabel", "multiclass"]
    labels: tuple[str, ...]
    documents: int
    units: int
    drops: Mapping[str, MetricDrop]
    agreement: Agreement
    calibration: Mapping[str, Calibration]
    calibration_change: Mapping[str, Interval]
    temperatures: Mapping[str, float]
    fairness: Mapping[str, Fairness]
    patterns: tuple[Pattern, ...]
    disagreements: pl.DataFrame
    settings: ValidationSettings
    notices: tuple[str, ...]

    @property
    def answers(self) -> str:
        """Unit that a calibration counts."""
        return "documents x labels" if self.kind == "multilabel" else "documents"


def validate(
    task: Task,
    original: ModelLogits,
    compressed: ModelLogits,
    settings: ValidationSettings,
    lengths: Int[np.ndarray, " documents"] | None = None,
) -> Validation:
    """Compare a compressed model with its original on the test documents, both as they are served.

    Args:
        original: logits of the original.
        compressed: logits of the compressed model.
        lengths: of the test documents in tokens; None for their characters.

    Raises:
        ValueError: the two have one name, logits or lengths do not fit the documents of the task, or a setting is out
            of its range.
    """
    _check(task, original, compressed, lengths)
    members, labels = task.examples.members("test"), task.examples.labels
    targets, frame = task.examples.targets[members], task.examples.frame
    groups = frame["group"].gather(members).to_numpy() if settings.by_group else None
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "groups": groups}
    one, other = (task.inference_config(model.validation, task.max_tokens) for model in (original, compressed))
    probabilities = [one.probabilities(original.test), other.probabilities(compressed.test)]
    thresholds = [one.thresholds, other.thresholds]
    pair = (targets, probabilities[0], thresholds[0], probabilities[1], thresholds[1])
    before, after = (quality(targets, *own) for own in zip(probabilities, thresholds, strict=True))
    first, second = (partial(weighted_quality, targets, *own) for own in zip(probabilities, thresholds, strict=True))
    changes = differences(first, second, len(members), **how)
    a, b = (apply_thresholds(*own) for own in zip(probabilities, thresholds, strict=True))
    attributes, notices = subgroups(frame["attributes"].gather(members))
    features = _features(task.texts("test"), lengths, attributes)
    parts = {
        "drops": {n: MetricDrop(before[n], after[n], each, _percent(each, before[n])) for n, each in changes.items()},
        "agreement": measure_agreement(a, b, label_kind(task.kind), **how),
        **_calibrated(
            task, (original, compressed), probabilities, how | {"kind": label_kind(task.kind), "bins": settings.bins}
        ),
        "fairness": {
            name: gaps(*pair, each, settings.metric, settings.minimum_documents, **how)
            for name, each in attributes.items()
        },
        "patterns": tuple(patterns(a != b, labels, features, groups, seed=settings.seed)),
        "disagreements": listing(frame["id"].gather(members), targets, a, b, labels),
        "settings": settings,
        "notices": tuple(notices),
    }
    units = len(members) if groups is None else len(np.unique(groups))
    return Validation(original.name, compressed.name, label_kind(task.kind), labels, len(members), units, **parts)


def validate_result(task: Task, original: ModelResult, compressed: ModelResult, how: ReportSettings) -> Validation:
    """Compare a stage of a pipeline with the model before compression; `how` has resamples, groups and seed."""
    a, b = (
        ModelLogits(model.name, *(model.lineage.artifact.predictions(split) for split in ("validation", "test")))
        for model in (original, compressed)
    )
    folder = compressed.lineage.artifact.folder
    tokenizer, limit = StoredTokenizer.load(folder / TOKENIZER), InferenceConfig.load(folder).max_tokens
    encoded = task.encode(tokenizer, limit)
    lengths = np.asarray(encoded.lengths()[task.examples.members("test")])
    settings = ValidationSettings(resamples=how.resamples, by_group=how.by_group, seed=how.seed)
    return validate(task, a, b, settings, lengths)


def _check(
    task: Task, original: ModelLogits, compressed: ModelLogits, lengths: Int[np.ndarray, " documents"] | None
) -> None:
    if original.name == compressed.name:
        raise ValueError(f"original and compressed model must have two names, got {original.name!r} twice")
    for split in ("validation", "test"):
        shape = len(task.examples.members(split)), task.outputs
        for model in (original, compressed):
            logits = getattr(model, split)
            if logits.shape != shape:
                raise ValueError(
                    f"logits must be documents x labels of their split, {shape} for {split}, got {logits.shape} from "
                    f"{model.name}; use Artifact.predictions({split!r}) of this task"
                )
    if lengths is not None and len(lengths) != len(task.examples.members("test")):
        raise ValueError(
            f"every test document must have one length, got {len(lengths)} for {len(task.examples.members('test'))}"
        )


def _features(
    texts: list[str], lengths: Int[np.ndarray, " documents"] | None, attributes: Mapping[str, Subgroups]
) -> list[Feature]:
    found = (
        length_bands(np.array([len(text) for text in texts]), "characters")
        if lengths is None
        else length_bands(lengths, "tokens")
    )
    found += mask_features("section", section_masks(texts))
    return found + [own for name, values in attributes.items() for own in value_features(name, values)]


def _calibrated(
    task: Task,
    models: tuple[ModelLogits, ModelLogits],
    served: Sequence[Float[np.ndarray, "test outputs"]],
    how: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the calibration of both, of the compressed model with its temperature, and the change between the two."""
    original, compressed = models
    checked, members = (task.examples.members(split) for split in ("validation", "test"))
    targets = task.examples.targets
    temperatures = {
        model.name: fit_temperature(model.validation, targets[checked], label_kind(task.kind))
        for model in (original, compressed)
    }
    a, b = served
    curves = {original.name: a, compressed.name: b}
    curves[f"{compressed.name}, tempered"] = task.probabilities(compressed.test / temperatures[compressed.name])
    return {
        "calibration": {name: measure_calibration(targets[members], own, **how) for name, own in curves.items()},
        "calibration_change": calibration_change(targets[members], a, b, **how),
        "temperatures": temperatures,
    }


def _percent(change: Interval, original: float) -> Interval:
    share = 100 / original if original > 0 else math.nan
    return Interval(share * change.value, share * change.low, share * change.high)
