"""From artifacts to rows: every model measured on the same test documents, in the same run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from rich.progress import Progress

from clinlm.config.console import interactive
from clinlm.engines.base import EngineSelection
from clinlm.metrics import latency
from clinlm.metrics.economics import Machine
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.latency import Latency
from clinlm.models.artifact import Artifact
from clinlm.models.model import Network
from clinlm.report import deployments, ensembles
from clinlm.report.baselines import beaten, has_keywords, keywords, labeler, tfidf
from clinlm.report.deployments import Bid, auction, bids
from clinlm.report.ensembles import Assembly
from clinlm.report.entry import Entry
from clinlm.report.row import Row
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.training.modules.base import document_logits


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
        engine: every model is deployed on it (or on the fastest of several), and gets a second row; None for none.
        machine: what the machine costs that everything is timed on.

    Raises:
        ImportError: the engine is not installed.
    """

    published: str | None = "smart_griffin"
    resamples: int = 1000
    by_group: bool = True
    latency_documents: int = 50
    latency_passes: int = 3
    seed: int = 0
    engine: EngineSelection | None = None
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        if self.engine is not None:
            deployments.check_installed(self.engine)  # now, and not when everything is trained


@dataclass(frozen=True)
class Candidate:
    """A model to compare.

    Attributes:
        name: of its row, distinct.
        role: teacher or student.
        artifact: on disk.
        cached: whether it was there already.
        reference: name of the candidate that it is compared with, its own for one that is a reference itself; None for
            the first of role teacher.
    """

    name: str
    role: str
    artifact: Artifact
    cached: bool
    reference: str | None = None


def compare(
    task: Task,
    task_key: str,
    models: Sequence[Candidate],
    settings: Settings,
    root: Path,
    assemblies: Sequence[Assembly] = (),
) -> tuple[list[Row], list[str], dict[str, Any]]:
    """Measure every model, the TF-IDF baseline, where labels come from words the keyword matcher, and the labeler.

    Differences and compression refer to a model's own reference; speed-ups to the first model of role teacher.
    Decision thresholds are fitted on validation, for every model by itself. Latency is that of one document at batch
    size 1: for a network from token ids to logits, in eager float32 (tokenising, the same for all, is left out); for
    TF-IDF from text to probabilities, as weighting words is its model. With `settings.engine`, every model is measured
    a second time as that engine runs it, from its own answers and its own files.

    Args:
        task: opened.
        task_key: its key.
        models: in the order of the rows.
        settings: how.
        root: the store, where the baseline is kept.
        assemblies: ensembles of teachers: each gets a row above the first of its students, which are compared with it
            in the notices. Its latency is that of one document through all members, one after another.

    Returns:
        the rows, baselines first; notices; and per-label tables by row name.

    Raises:
        ValueError: there is no teacher to compare with.
    """
    first = _first(models)
    baselines = [tfidf(task, task_key, root, first), *([keywords(task, first)] if has_keywords(task) else [])]
    said = labeler(task, first)
    own = [*baselines, *([] if said is None else [said]), *(_entry(task, one, first) for one in models)]
    entries, weights = ensembles.beside(task, own, assemblies, first)
    by_name = {entry.row.name: entry for entry in entries}
    offers: list[Bid] = []
    if settings.engine is not None:
        offers = bids({one.name: one.artifact for one in models}, settings.engine, task, root)
    deployed = [deployments.entry(task, bid, by_name[bid.model]) for bid in offers if bid.deployment is not None]
    times = _latencies(task, [*entries, *deployed], first, settings)
    kept, engines = auction(offers, times)
    entries = _beside(entries, [one for one in deployed if one.row.name in kept])
    rows = [_measured(task, e, by_name[e.reference], settings, times.get(e.row.name)) for e in entries]
    warning = latency.notice(times)
    tables = {entry.row.name: _per_label(task, entry, settings) for entry in entries}
    taught = ensembles.notices(task, assemblies, entries, rows, resampling(task, settings))
    return rows, [*_cut(entries), *engines, *([warning] if warning else []), *beaten(rows), *weights, *taught], tables


def _first(models: Sequence[Candidate]) -> str:
    for one in models:
        if one.role == "teacher":
            return one.name
    raise ValueError(
        f"a comparison needs a teacher; the stages {[one.name for one in models]} have none of role teacher; give "
        "the pipeline one (stages.NAME.role=teacher)"
    )


def _beside(entries: Sequence[Entry], deployed: Sequence[Entry]) -> list[Entry]:
    """Put every deployment below its artifact."""
    below = {one.row.deployment["of"]: one for one in deployed}
    return [each for entry in entries for each in (entry, below.get(entry.row.name)) if each is not None]


def _cut(entries: Sequence[Entry]) -> list[str]:
    """Name the models that do not read every note to its end."""
    models = [entry for entry in entries if entry.row.kind == "stage" and not entry.row.deployment]
    found: dict[str, list[str]] = {}
    for one in models:
        if one.cut:
            found.setdefault(one.cut, []).append(one.row.name)
    whole = len(models)
    return [f"{told} by {'every model' if len(names) == whole else ', '.join(names)}" for told, names in found.items()]


def _entry(task: Task, model: Candidate, first: str) -> Entry:
    report = model.artifact.report
    row = Row(
        name=model.name,
        kind="stage",
        key=model.artifact.key,
        role="teacher" if model.role == "teacher" else "student",
        parameters=report["parameters"],
        nonzero=report["nonzero"],
        bytes=report["bytes"],
        peak_mib=report["peak_mib"],
        seconds=report["seconds"],
        cached=model.cached,
    )
    validation, test = (task.probabilities(model.artifact.predictions(split)) for split in ("validation", "test"))
    loaded = model.artifact.load()
    limit = min(loaded.max_tokens, task.max_tokens)
    encoded = task.encode(loaded.tokenizer, limit)
    notes, way = len(task.examples.frame), type(task.long_notes).__name__
    cut = f"{encoded.cut:,} of {notes:,} notes are cut at {limit} tokens a row ({way})" if encoded.cut else ""
    return Entry(
        row,
        validation,
        test,
        lambda document: _forward(loaded.network, encoded.collate([document]), task),
        model.reference or first,
        cut,
    )


@torch.inference_mode()
def _forward(network: Network, batch: Batch, task: Task) -> object:
    return document_logits(network, batch, task.long_notes)


def _latencies(task: Task, entries: Sequence[Entry], reference: str, settings: Settings) -> Mapping[str, Latency]:
    members = task.examples.members("test")
    chosen = np.random.default_rng(settings.seed).permutation(members)[: settings.latency_documents]
    models = {entry.row.name: entry.answer for entry in entries if entry.answer is not None}
    with Progress(transient=True, disable=not interactive()) as progress:
        bar = progress.add_task("timing all models", total=len(chosen) * settings.latency_passes)
        return latency.measure(
            models,
            chosen.tolist(),
            passes=settings.latency_passes,
            reference=reference,
            seed=settings.seed,
            advance=lambda: progress.advance(bar),
        )


def _measured(task: Task, entry: Entry, reference: Entry, settings: Settings, time: Latency | None) -> Row:
    how = resampling(task, settings)
    judged = _judged(task, entry)
    return replace(
        entry.row,
        quality=judged.quality(),
        intervals=judged.intervals(**how),
        differences={} if entry is reference else judged.difference(_judged(task, reference), **how),
        validation=_judged(task, entry, "validation").quality(),
        latency=time,
        compression_parameters=_ratio(reference.row.parameters, entry.row.parameters),
        compression_bytes=_ratio(reference.row.bytes, entry.row.bytes),
    )


def resampling(task: Task, settings: Settings) -> dict[str, Any]:
    """Return resamples, seed and groups of test documents, as every interval of the comparison takes them."""
    members = task.examples.members("test")
    groups = task.examples.frame["group"].gather(members).to_numpy() if settings.by_group else None
    return {"resamples": settings.resamples, "seed": settings.seed, "groups": groups}


def _ratio(reference: int, own: int) -> float:
    return reference / own if own else float("nan")


def _per_label(task: Task, entry: Entry, settings: Settings) -> pl.DataFrame:
    judged = _judged(task, entry)
    if isinstance(judged, EntityEvaluation):
        return judged.label_intervals(**resampling(task, settings))
    return judged.per_label()


def _judged(task: Task, entry: Entry, split: Literal["validation", "test"] = "test") -> Evaluation:
    return task.evaluate(split, getattr(entry, split), task.fit_thresholds(entry.validation))
