"""From artifacts to rows: every model measured on the same test documents, in the same run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import Progress

from clinlm import machine, store
from clinlm.artifact import Artifact
from clinlm.batches import Batch
from clinlm.measure import latency
from clinlm.measure.baseline import TfidfBaseline
from clinlm.measure.intervals import intervals, paired
from clinlm.measure.latency import Latency
from clinlm.measure.quality import per_label, quality
from clinlm.model import Network
from clinlm.modules.base import document_logits
from clinlm.report.row import Row
from clinlm.task import Task

log = logging.getLogger(__name__)
BASELINE = "TF-IDF"
Model = tuple[str, str, Artifact, bool]


@dataclass(frozen=True)
class Settings:
    """How a comparison is made.

    Attributes:
        published: name of the table in `conf/published` that stands beside ours.
        resamples: of the bootstrap.
        by_group: resample whole groups (patients), as notes of one patient are not independent; documents otherwise.
        latency_documents: test documents timed, drawn at random.
        latency_passes: times every one of them is timed by every model.
        seed: of the draws.
    """

    published: str | None = "smart_griffin"
    resamples: int = 1000
    by_group: bool = True
    latency_documents: int = 50
    latency_passes: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One model of a comparison: what it says of validation and test, and how it answers one document.

    Attributes:
        row: name and costs; quality is filled in here.
        validation, test: probabilities.
        answer: from the number of a document, what is to be timed.
    """

    row: Row
    validation: Float[np.ndarray, "validation outputs"]
    test: Float[np.ndarray, "test outputs"]
    answer: Callable[[int], object]


def compare(
    task: Task, task_key: str, models: Sequence[Model], settings: Settings, root: Path
) -> tuple[list[Row], list[str], dict[str, Any]]:
    """Measure every stage and the TF-IDF baseline.

    The reference is the first stage of role teacher. Decision thresholds are fitted on validation, for every model by
    itself. Latency is that of one document at batch size 1: for a network from token ids to logits, in eager float32
    (tokenising, the same for all, is left out); for TF-IDF from text to probabilities, as weighting words is its model.

    Args:
        task: opened.
        task_key: its key.
        models: name (distinct), role, artifact, and whether it was cached; in the order of the rows.
        settings: how.
        root: the store, where the baseline is kept.

    Returns:
        the rows, TF-IDF first; notices; and per-label tables by row name.
    """
    entries = [_baseline(task, task_key, root), *(_entry(task, *one) for one in models)]
    reference = next(place for place, e in enumerate(entries) if e.row.role == "teacher")
    times = _latencies(task, entries, entries[reference].row.name, settings)
    rows = [_measured(task, entry, entries[reference], settings, times[entry.row.name]) for entry in entries]
    warning = latency.notice(times)
    tables = {entry.row.name: _per_label(task, entry) for entry in entries}
    return rows, [warning] if warning else [], tables


def _entry(task: Task, name: str, role: str, artifact: Artifact, cached: bool) -> Entry:
    report = artifact.report
    row = Row(
        name=name,
        kind="stage",
        key=artifact.key,
        role="teacher" if role == "teacher" else "student",
        parameters=report["parameters"],
        nonzero=report["nonzero"],
        bytes=report["bytes"],
        peak_mib=report["peak_mib"],
        seconds=report["seconds"],
        cached=cached,
    )
    validation, test = (task.probabilities(artifact.predictions(split)) for split in ("validation", "test"))
    return Entry(row, validation, test, _answerer(task, artifact))


def _answerer(task: Task, artifact: Artifact) -> Callable[[int], object]:
    model = artifact.load()
    encoded = task.encode(model.tokenizer, min(model.max_tokens, task.max_tokens))
    return lambda document: _forward(model.network, encoded.collate([document]), task)


@torch.inference_mode()
def _forward(network: Network, batch: Batch, task: Task) -> object:
    return document_logits(network, batch, task.long_notes)


def _baseline(task: Task, task_key: str, root: Path) -> Entry:
    code = store.sources({"_target_": f"{TfidfBaseline.__module__}.TfidfBaseline"})
    folder = root / f"tfidf-{store.digest([task_key, code])}"
    with store.claim(folder) as whole:
        if not whole:
            log.info("fitting the TF-IDF baseline")
            texts, targets = zip(*(_split(task, split) for split in ("train", "validation")), strict=True)
            clock = machine.Stopwatch()
            TfidfBaseline.fit(texts[0], targets[0], texts[1], targets[1]).save(folder)
            store.seal(folder, {"key": folder.name, "seconds": clock.seconds()})
    model = TfidfBaseline.load(folder)
    row = Row(
        name=BASELINE,
        kind="baseline",
        key=folder.name,
        parameters=model.parameters,
        nonzero=model.nonzero,
        bytes=model.bytes,
        seconds=store.read_record(folder)["seconds"],
        cached=whole,
    )
    column = task.examples.frame["text"]
    predicted = [model.probabilities(task.texts(split)) for split in ("validation", "test")]
    return Entry(row, predicted[0], predicted[1], lambda document: model.probabilities([column[document]]))


def _split(task: Task, split: str) -> tuple[list[str], Any]:
    return task.texts(split), task.examples.targets[task.examples.members(split)]


def _latencies(task: Task, entries: Sequence[Entry], reference: str, settings: Settings) -> Mapping[str, Latency]:
    members = task.examples.members("test")
    chosen = np.random.default_rng(settings.seed).permutation(members)[: settings.latency_documents]
    models = {entry.row.name: entry.answer for entry in entries}
    with Progress(transient=True, disable=not machine.interactive()) as progress:
        bar = progress.add_task("timing all models", total=len(chosen) * settings.latency_passes)
        return latency.measure(
            models,
            chosen.tolist(),
            passes=settings.latency_passes,
            reference=reference,
            seed=settings.seed,
            advance=lambda: progress.advance(bar),
        )


def _measured(task: Task, entry: Entry, reference: Entry, settings: Settings, time: Latency) -> Row:
    members = task.examples.members("test")
    targets = task.examples.targets[members]
    groups = task.examples.frame["group"].gather(members).to_numpy() if settings.by_group else None
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "groups": groups}
    thresholds = task.fit_thresholds(entry.validation)
    differences = {}
    if entry is not reference:
        theirs = task.fit_thresholds(reference.validation)
        differences = paired(targets, reference.test, theirs, entry.test, thresholds, **how)
    return replace(
        entry.row,
        quality=quality(targets, entry.test, thresholds),
        intervals=intervals(targets, entry.test, thresholds, **how),
        differences=differences,
        latency=time,
        compression_parameters=reference.row.parameters / entry.row.parameters,
        compression_bytes=reference.row.bytes / entry.row.bytes,
    )


def _per_label(task: Task, entry: Entry) -> Any:
    targets = task.examples.targets[task.examples.members("test")]
    return per_label(targets, entry.test, task.fit_thresholds(entry.validation), task.examples.labels)
