"""The table of `resplits=k`: every model on k splits of its corpus, with intervals over splits and documents."""

import logging
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, final

import numpy as np
import polars as pl

from clinlm.config.console import make_console
from clinlm.config.targets import instantiate
from clinlm.metrics.bootstrap import Groups, Interval
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.latency import Latency, busy_share
from clinlm.metrics.noninferiority import NonInferiority, judge
from clinlm.metrics.resplits import SplitValues, TwoLevelDraws, summarised
from clinlm.pipeline.protocol import Protocol
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import cells
from clinlm.report.conclusion import conclude
from clinlm.report.domination import with_domination
from clinlm.report.evaluation import Compared, compare
from clinlm.report.html.page import write_page
from clinlm.report.nested import best_on_validation, without_split
from clinlm.report.report import Report, open_inputs
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.settings import ReportSettings
from clinlm.report.split_table import listed_seeds, write_resplits
from clinlm.report.terminal import Ending, shown_path
from clinlm.report.verdicts import verdict_notices, with_verdicts
from clinlm.report.written import RESPLITS, WrittenReport, machine_of, places_of
from clinlm.store.content import verified
from clinlm.store.key import digest

log = logging.getLogger(__name__)

_LOAD = re.compile(r"used (\d+)% of the cores")
_LOAD_RANGE = re.compile(r"used [\d–]+% of the cores")


def by_corpus(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs that differ in their split, and not otherwise in their task, by a digest of that task."""
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        found[digest({name: own for name, own in run.task.settings.items() if name != "seed"})].append(run)
    return found


def report_resplits(runs: Sequence[RunRecord], folder: Path) -> WrittenReport:
    """Write and print the table of `runs`, all on splits of one corpus, and return it.

    One split is in memory at a time. Where several pipelines ran, every split gets its own report in `split-SEED`.

    Args:
        folder: of the sweep; it exists.
    """
    by_seed: dict[int, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_seed[split_seed(run)].append(run)
    alone = len({*map(_pipeline, runs)}) == 1
    settings: ReportSettings = instantiate(dict(runs[0].report))
    metric = runs[0].monitor.removeprefix("val/")
    table = SplitTable([*by_seed], [_documents(own[0], settings.by_group) for own in by_seed.values()], settings)
    among = [replace(run, overrides=_shared(run)) for run in runs]  # a job may lack a split: names stay the same
    for number, (seed, own) in enumerate(by_seed.items()):
        log.info("split %d (%d of %d): comparing its models", seed, number + 1, len(by_seed))
        table.add(number, _compared(own, among, folder / f"split-{seed}", alone))
    results = with_domination(with_verdicts(table.results(), with_doubts(runs), alone, table.judge), metric)
    results = [_again(result, runs) for result in results]
    notices = [*verdict_notices(results), *table.notices()]
    subject = results[-1] if alone else best_on_validation(results, metric)
    files = write_resplits(results, folder, RESPLITS, notices, metric, subject.name)
    said = conclude(results, subject.name, metric).sentences
    every = tuple(results), tuple(notices), tuple(said), machine_of(results), subject.name, places_of(runs, folder)
    written = WrittenReport(folder, tuple(runs), *every)
    write_page(written)
    _print(results, runs, alone, subject, folder / files[0].name, metric)
    return written


def with_doubts(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs, where the margin of one split has a caveat with that margin for all splits of its pipeline.

    A verdict over splits rests on the margins of all.
    """
    doubtful: dict[Any, Protocol] = {}
    for run in runs:
        if run.protocol is not None and run.protocol.caveat:
            doubtful.setdefault(_pipeline(run), run.protocol)
    return [replace(run, protocol=doubtful.get(_pipeline(run), run.protocol)) for run in runs]


def split_seed(run: RunRecord) -> int:
    """Return `task.seed` of a run."""
    return int(run.task.settings.get("seed", 0))


def _compared(runs: Sequence[RunRecord], among: Sequence[RunRecord], folder: Path, alone: bool) -> Compared:
    """Return the comparison of one split; that of a single pipeline has its table in the folder of its job."""
    inputs = open_inputs(runs[0])
    if alone:
        return compare(runs[:1], inputs[0], stages=True, split=runs[0].split)
    report = Report(runs, inputs, folder, stages=False, among=among)
    return Compared(report.results, report.notices, report.evaluations)


def _documents(run: RunRecord, by_group: bool) -> pl.DataFrame:
    """Return `id`, `unit` (what is drawn as one) and `split` of every document of a run's task, without its texts."""
    path = verified(Path(run.store) / f"task-{run.task.key}") / "documents.parquet"
    unit = pl.col("group" if by_group else "id").alias("unit")
    return pl.read_parquet(path, columns=["id", "group", "split"]).select("id", unit, "split")


def _sizes(frames: Sequence[pl.DataFrame]) -> tuple[int, int]:
    """Return how many documents are tested, and how many train, in the mean over splits."""
    tested, trained = (fmean((frame["split"] == name).sum() for frame in frames) for name in ("test", "train"))
    return round(tested), max(1, round(trained))


@final
class SplitTable:
    """Collects the comparison of every split, and computes the results over all.

    Args:
        seeds: `task.seed` of every split.
        documents: for every split its documents: `id`, `unit` (what is drawn as one) and `split`.
    """

    def __init__(self, seeds: Sequence[int], documents: Sequence[pl.DataFrame], settings: ReportSettings) -> None:
        tested = [frame.filter(pl.col("split") == "test") for frame in documents]
        self._seeds, self._sizes = tuple(seeds), _sizes(documents)
        self._tested: list[Groups] = [frame["unit"].to_numpy() for frame in tested]
        self._count = pl.concat(tested)["id"].n_unique()
        self._draws = TwoLevelDraws.of(self._tested, settings.resamples, settings.seed)
        self._shape = (len(seeds), settings.resamples + 1)
        self._values: dict[str, dict[str, SplitValues]] = {}
        self._results: dict[str, list[ModelResult]] = defaultdict(list)
        self._notices: list[Sequence[str]] = []

    def add(self, number: int, compared: Compared) -> None:
        """Add the comparison of a split; no prediction is kept."""
        weights = self._draws.weights(self._tested[number])
        for result in compared.results:
            self._results[result.name].append(result)
            evaluation = compared.evaluations.get(result.name)
            if evaluation is not None:
                self._put(number, result.name, evaluation, weights)
        judged = verdict_notices(compared.results)
        self._notices.append([notice for notice in compared.notices if notice not in judged])

    def _put(self, number: int, name: str, evaluation: Evaluation, weights: Any) -> None:
        own = self._values.setdefault(name, {})
        for metric, values in evaluation.weighted(weights).items():
            own.setdefault(metric, np.full(self._shape, np.nan))[number] = values

    def results(self) -> list[ModelResult]:
        """Return a result for every model: means over the splits that have it, with intervals."""
        return [self._result(name) for name in self._results]

    def judge(self, name: str, reference: str, protocol: Protocol) -> NonInferiority:
        """Return the verdict on a model over all splits by itself, against its reference."""
        ours, theirs = (self._values[own][protocol.metric] for own in (name, reference))
        values = self._draws.mean(ours - theirs)
        found = judge(values, protocol.metric, protocol.margin, self._count, self._draws.names)
        return replace(found, caveat=protocol.caveat)

    def notices(self) -> list[str]:
        """Return the notices of all splits: those that all share once, others with the seed of their split."""
        listed = with_load_range(self._notices)
        every = set.intersection(*(set(own) for own in listed))
        shared = [notice for notice in listed[0] if notice in every]
        seeded = zip(self._seeds, listed, strict=True)
        own = [f"split {seed}: {notice}" for seed, notices in seeded for notice in notices if notice not in every]
        return [*self._gates(), *self._coverage(), *shared, *own]

    def _coverage(self) -> list[str]:
        """Return a line for every model with prediction sets: their coverage over splits, and its range."""
        lines = []
        for name, own in self._results.items():
            shares: dict[float, list[float]] = defaultdict(list)
            for level in (level for result in own if result.uncertainty for level in result.uncertainty.levels):
                shares[level.coverage].append(level.sets.value)
            told = [
                f"{cells.percent(fmean(each))} ({cells.percent_range(min(each), max(each))}) of {100 * nominal:g}"
                for nominal, each in shares.items()
            ]
            lines += [f"coverage of the sets of {name} over splits, %: {', '.join(told)}"] if told else []
        return lines

    def _gates(self) -> list[str]:
        """Return a line for every model and gate: on how many splits it passes."""
        lines = []
        for name, own in self._results.items():
            passed: dict[str, int] = defaultdict(int)
            for verdict in (verdict for result in own for verdict in result.gates):
                passed[verdict.gate] += verdict.passed
            counts = ", ".join(f"{gate} {count}" for gate, count in passed.items())
            lines += [f"gates passed by {name}, of {len(own)} splits: {counts}"] if passed else []
        return lines

    def _result(self, name: str) -> ModelResult:
        own, first = self._results[name], self._results[name][0]
        plain: dict[str, Any] = {
            "key": "",
            "gates": (),
            "per_label": (),
            "drop": None,
            "uncertainty": None,
            "economics": None,
            "notices": (),
        }
        values, theirs = self._values.get(name), self._values.get(first.reference)
        costs = self._costs(own, self._results.get(first.reference, own))
        if values is None:
            return replace(first, **plain, **costs)
        alone = first.reference == name or theirs is None
        means = {metric: self._draws.mean(each) for metric, each in values.items()}
        floors = {floor: self._values[floor] for floor in first.against_baselines if floor in self._values}
        return replace(
            first,
            **plain,
            **costs,
            quality={metric: float(mean[0]) for metric, mean in means.items()},
            intervals={metric: Interval.percentile(mean) for metric, mean in means.items()},
            differences={} if alone else self._differences(values, theirs or {}),
            against_baselines={floor: self._differences(values, against) for floor, against in floors.items()},
            validation=_means([result.validation for result in own]),
            deviations={},
            splits=summarised(values, None if alone else theirs, self._seeds, self._sizes),
        )

    def _differences(self, own: Mapping[str, SplitValues], reference: Mapping[str, SplitValues]) -> dict[str, Interval]:
        return {metric: Interval.difference(self._draws.mean(each - reference[metric])) for metric, each in own.items()}

    def _costs(self, own: Sequence[ModelResult], reference: Sequence[ModelResult]) -> dict[str, Any]:
        """Return the costs of a result over splits: means, and medians of latency; factors of these numbers."""
        size = {name: round(fmean(getattr(r, name) for r in own)) for name in ("parameters", "nonzero", "bytes")}
        whole = {name: fmean(getattr(r, name) for r in reference) for name in ("parameters", "bytes")}
        peaks = [result.peak_mib for result in own if result.peak_mib is not None]
        factors = {f"compression_{n}": whole[n] / size[n] if size[n] else math.nan for n in whole}
        if own[0].name == own[0].reference:
            factors = dict.fromkeys(factors, 1.0)
        return {
            **size,
            **factors,
            "seconds": fmean(result.seconds for result in own),
            "cached": all(result.cached for result in own),
            "peak_mib": fmean(peaks) if peaks else None,
            "latency": _latency([r.latency for r in own if r.latency], [r.latency for r in reference if r.latency]),
        }


def with_load_range(every: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Return the notices of all splits, with the range of their loads where what was timed differs in nothing else."""
    loads = [int(load) for own in every for notice in own for load in _LOAD.findall(notice)]
    if not loads:
        return every
    ends = "–".join(dict.fromkeys((str(min(loads)), str(max(loads)))))
    ranged = [[_LOAD.sub(f"used {ends}% of the cores", notice) for notice in own] for own in every]
    timed = {tuple(notice for notice in own if _LOAD_RANGE.search(notice)) for own in ranged}
    return ranged if len(timed) == 1 else every


def _latency(own: Sequence[Latency], reference: Sequence[Latency]) -> Latency | None:
    """Return the medians over splits; the speed-up is their ratio, with its least and greatest value of a split."""
    if not own:
        return None
    every = {field.name: [getattr(each, field.name) for each in own] for field in fields(Latency)}
    found: dict[str, Any] = {}
    for name, values in every.items():
        known = [value for value in values if isinstance(value, int | float)]
        found[name] = median(known) if known else None
    found |= {"documents": sum(each.documents for each in own), "hardware": own[0].hardware}
    found["busy"] = busy_share(own)
    speedups = every["speedup"]
    ratio = median(each.p50_ms for each in reference) / found["p50_ms"] if reference else math.nan
    return Latency(**found | {"speedup": ratio, "speedup_low": min(speedups), "speedup_high": max(speedups)})


def _means(every: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        name: fmean(own[name] for own in every if name in own) for name in dict.fromkeys(n for o in every for n in o)
    }


def _again(result: ModelResult, runs: Sequence[RunRecord]) -> ModelResult:
    """Return a result with the command that makes its row again, and without places in the store: it has several."""
    lineage = result.lineage
    seeds = sorted({split_seed(run) for run in runs})
    typed = [*without_split(lineage.overrides), f"task.seed={seeds[0]}", f"resplits={runs[0].resplits}"]
    deployment = {"of": result.deployment["of"]} if result.deployment else {}
    overrides = tuple(typed) if lineage.overrides else ()
    plain: Lineage = replace(lineage, folder="", parent="", original="", overrides=overrides)
    return replace(result, lineage=plain, deployment=deployment)


def _pipeline(run: RunRecord) -> tuple[str, int, tuple[str, ...]]:
    """Return what runs of one pipeline on several splits have in common."""
    return run.pipeline, run.seed, _shared(run)


def _shared(run: RunRecord) -> tuple[str, ...]:
    return tuple(without_split(run.overrides))


def _print(
    results: Sequence[ModelResult],
    runs: Sequence[RunRecord],
    alone: bool,
    subject: ModelResult,
    path: Path,
    metric: str,
) -> None:
    """Print the end: table, verdict, spread of the subject, and the command that repeats it."""
    seeds, asked = sorted({split_seed(run) for run in runs}), runs[0].resplits
    finished = f"{len(seeds)} of {asked}" if len(seeds) < asked else str(asked)
    of = f"Pipeline {runs[0].pipeline}" if alone else f"{len({_shared(run) for run in runs})} pipelines"
    title = f"{of} on test: mean of {finished} splits (task.seed {listed_seeds(seeds)})"
    lines = [
        *_spread(subject, metric),
        f"report     {shown_path(path)}, and report.html, resplits.csv, resplits.json",
        f"again      {shlex.join(['clinlm', *subject.lineage.overrides])}",
    ]
    Ending(title, results, subject.name, metric, lines).print(make_console())


def _spread(result: ModelResult, metric: str) -> list[str]:
    spread = result.splits
    if spread is None:
        return []
    counted = f"; above {result.reference} on {spread.better[metric]}" if metric in spread.better else ""
    return [
        f"splits     {spread.found} of {len(spread.seeds)}: {cells.spelled(metric)} of {result.name} "
        f"{cells.percent_range(*spread.ends(metric))} %{counted}"
    ]
