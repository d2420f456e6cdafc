"""Validation of a compressed model against its original: everything on the same documents, paired."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import polars as pl
from jaxtyping import Int

from clinlm.metrics.agreement import Decisions, measure_agreement
from clinlm.metrics.bootstrap import Interval, differences
from clinlm.metrics.calibration import calibration_change, fit_temperature, measure_calibration
from clinlm.metrics.classification import (
    Probabilities,
    Targets,
    Thresholds,
    apply_thresholds,
    quality,
    weighted_quality,
)
from clinlm.metrics.disagreements import Feature, length_bands, listing, mask_features, patterns, value_features
from clinlm.metrics.fairness import Subgroups, gaps, subgroups
from clinlm.metrics.sections import section_masks
from clinlm.report import reliability, validation_text
from clinlm.report.validated import Answers, Drop, Validation, ValidationSettings
from clinlm.store.content import write_json
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import label_kind


@final
@dataclass(frozen=True)
class _Judged:
    """A model's probabilities on test, the thresholds that validation gave it, and what it decides with them."""

    probabilities: Probabilities
    thresholds: Thresholds
    decisions: Decisions

    @classmethod
    def of(cls, task: Task, answers: Answers) -> Self:
        probabilities = task.probabilities(answers.test)
        thresholds = task.fit_thresholds(task.probabilities(answers.validation))
        return cls(probabilities, thresholds, apply_thresholds(probabilities, thresholds))


def validate(
    task: Task,
    original: Answers,
    compressed: Answers,
    settings: ValidationSettings,
    lengths: Int[np.ndarray, " documents"] | None = None,
) -> Validation:
    """Compare a compressed model with its original on the test documents of a task.

    Thresholds are fitted on validation, for either model by itself, as in every comparison of clinlm.

    Args:
        task: opened.
        original: answers of the original.
        compressed: answers of the compressed model.
        settings: how.
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
    a, b = (_Judged.of(task, one) for one in (original, compressed))
    pair = (targets, a.probabilities, a.thresholds, b.probabilities, b.thresholds)
    before, after = (partial(weighted_quality, targets, one.probabilities, one.thresholds) for one in (a, b))
    attributes, notices = subgroups(frame["attributes"].gather(members))
    features = _features(task.texts("test"), lengths, attributes)
    told = {
        "drops": _drops(targets, a, b, differences(before, after, len(members), **how)),
        "agreement": measure_agreement(a.decisions, b.decisions, label_kind(task.kind), **how),
        **_calibrated(task, original, compressed, how | {"kind": label_kind(task.kind), "bins": settings.bins}),
        "fairness": {
            name: gaps(*pair, each, settings.metric, settings.minimum_documents, **how)
            for name, each in attributes.items()
        },
        "patterns": tuple(patterns(a.decisions != b.decisions, labels, features, groups, seed=settings.seed)),
        "disagreements": listing(targets, a.decisions, b.decisions, labels),
        "settings": settings,
        "notices": tuple(notices),
    }
    units = len(members) if groups is None else len(np.unique(groups))
    return Validation(original.name, compressed.name, label_kind(task.kind), labels, len(members), units, **told)


def write(validation: Validation, folder: Path) -> list[Path]:
    """Write validation.md, validation.json, disagreements.csv, reliability.svg and .png, and return their paths.

    Numbers that are undefined or infinite are null in JSON.
    """
    paths = [folder / name for name in ("validation.md", "validation.json", "disagreements.csv")]
    paths[0].write_text(validation_text.markdown(validation), encoding="utf-8")
    write_json(paths[1], _plain(validation))
    validation.disagreements.write_csv(paths[2])
    return [*paths, *reliability.write(validation.calibration, validation.answers, folder)]


def _check(task: Task, original: Answers, compressed: Answers, lengths: Int[np.ndarray, " documents"] | None) -> None:
    if original.name == compressed.name:
        raise ValueError(f"original and compressed model need two names; both are {original.name!r}")
    for split in ("validation", "test"):
        shape = len(task.examples.members(split)), task.outputs
        for one in (original, compressed):
            logits = getattr(one, split)
            if logits.shape != shape:
                raise ValueError(
                    f"logits are documents x labels of their split; {split} has {shape}, {one.name} came with "
                    f"{logits.shape}; take them from Artifact.predictions({split!r}) of this task"
                )
    if lengths is not None and len(lengths) != len(task.examples.members("test")):
        raise ValueError(
            f"every test document needs one length; {len(lengths)} came for {len(task.examples.members('test'))}"
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
    return found + [each for name, values in attributes.items() for each in value_features(name, values)]


def _calibrated(task: Task, original: Answers, compressed: Answers, how: Mapping[str, Any]) -> dict[str, Any]:
    """Calibration of both, of the compressed model with its temperature, and what changes between the two."""
    checked, members = (task.examples.members(split) for split in ("validation", "test"))
    targets = task.examples.targets
    temperatures = {
        one.name: fit_temperature(one.validation, targets[checked], label_kind(task.kind))
        for one in (original, compressed)
    }
    a, b = (task.probabilities(one.test) for one in (original, compressed))
    curves = {original.name: a, compressed.name: b}
    curves[f"{compressed.name}, tempered"] = task.probabilities(compressed.test / temperatures[compressed.name])
    return {
        "calibration": {name: measure_calibration(targets[members], one, **how) for name, one in curves.items()},
        "calibration_change": calibration_change(targets[members], a, b, **how),
        "temperatures": temperatures,
    }


def _drops(targets: Targets, a: _Judged, b: _Judged, changes: Mapping[str, Interval]) -> dict[str, Drop]:
    before, after = (quality(targets, one.probabilities, one.thresholds) for one in (a, b))
    return {name: Drop(before[name], after[name], each, _percent(each, before[name])) for name, each in changes.items()}


def _percent(change: Interval, original: float) -> Interval:
    share = 100 / original if original > 0 else math.nan
    return Interval(share * change.value, share * change.low, share * change.high)


def _plain(content: Any) -> Any:
    """Return what JSON can hold, without tables."""
    if is_dataclass(content):
        told = {each.name: getattr(content, each.name) for each in fields(content)}
        return {name: _plain(value) for name, value in told.items() if not isinstance(value, pl.DataFrame)}
    if isinstance(content, Mapping):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, tuple):
        return [_plain(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
