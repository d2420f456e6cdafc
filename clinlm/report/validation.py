"""Validation of a compressed model against its original: everything on the same documents, paired."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import polars as pl
from jaxtyping import Int

from clinlm import store
from clinlm.measure.agreement import agreement
from clinlm.measure.calibration import calibration, calibration_change, fit_temperature
from clinlm.measure.disagreements import Feature, length_bands, listing, patterns, present, values_of
from clinlm.measure.estimate import Estimate
from clinlm.measure.fairness import Subgroups, gaps
from clinlm.measure.intervals import Difference, paired
from clinlm.measure.quality import Probabilities, Targets, Thresholds, decided, quality
from clinlm.measure.sections import sections
from clinlm.measure.subgroups import subgroups
from clinlm.report import reliability, validation_text
from clinlm.report.validated import Answers, Drop, Validation, ValidationSettings
from clinlm.task import Task


@final
@dataclass(frozen=True)
class _Judged:
    """A model's probabilities on test, and the thresholds that validation gave it."""

    probabilities: Probabilities
    thresholds: Thresholds

    @classmethod
    def of(cls, task: Task, answers: Answers) -> Self:
        return cls(task.probabilities(answers.test), task.fit_thresholds(task.probabilities(answers.validation)))


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
    members = task.examples.members("test")
    _check(task, original, compressed, lengths)
    frame, targets, labels = task.examples.frame, task.examples.targets[members], task.examples.labels
    groups = frame["group"].gather(members).to_numpy() if settings.by_group else None
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "groups": groups}
    a, b = (_Judged.of(task, one) for one in (original, compressed))
    pair = (a.probabilities, a.thresholds, b.probabilities, b.thresholds)
    first, second = (decided(one.probabilities, one.thresholds) for one in (a, b))
    attributes, notices = subgroups(frame["attributes"].gather(members))
    features = _features(task.texts("test"), lengths, attributes)
    temperatures = {one.name: _temperature(task, one) for one in (original, compressed)}
    tempered = task.probabilities(compressed.test / temperatures[compressed.name])
    curves = {original.name: a.probabilities, compressed.name: b.probabilities}
    curves[f"{compressed.name}, tempered"] = tempered
    binned = how | {"kind": task.kind, "bins": settings.bins}
    return Validation(
        original=original.name,
        compressed=compressed.name,
        kind=task.kind,
        labels=labels,
        documents=len(members),
        units=len(members) if groups is None else len(np.unique(groups)),
        drops=_drops(targets, a, b, paired(targets, *pair, **how)),
        agreement=agreement(first, second, task.kind, **how),
        calibration={name: calibration(targets, one, **binned) for name, one in curves.items()},
        calibration_change=calibration_change(targets, a.probabilities, b.probabilities, **binned),
        temperatures=temperatures,
        fairness={
            name: gaps(targets, *pair, each, settings.metric, settings.minimum_documents, **how)
            for name, each in attributes.items()
        },
        patterns=tuple(patterns(first != second, labels, features, groups, seed=settings.seed)),
        disagreements=listing(targets, first, second, labels),
        notices=tuple(notices),
    )


def write(validation: Validation, folder: Path) -> list[Path]:
    """Write validation.md, validation.json, disagreements.csv, reliability.svg and .png, and return their paths.

    Numbers that are undefined or infinite are null in JSON.
    """
    paths = [folder / name for name in ("validation.md", "validation.json", "disagreements.csv")]
    paths[0].write_text(validation_text.markdown(validation), encoding="utf-8")
    store.write_json(paths[1], _plain(validation))
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
    found += present("section", sections(texts))
    return found + [each for name, values in attributes.items() for each in values_of(name, values)]


def _temperature(task: Task, answers: Answers) -> float:
    targets = task.examples.targets[task.examples.members("validation")]
    return fit_temperature(answers.validation, targets, task.kind)


def _drops(targets: Targets, a: _Judged, b: _Judged, changes: Mapping[str, Difference]) -> dict[str, Drop]:
    before, after = (quality(targets, one.probabilities, one.thresholds) for one in (a, b))
    return {name: Drop(before[name], after[name], each, _percent(each, before[name])) for name, each in changes.items()}


def _percent(change: Difference, original: float) -> Estimate:
    share = 100 / original if original > 0 else math.nan
    return Estimate(share * change.value, share * change.low, share * change.high)


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
