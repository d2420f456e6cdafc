"""From finished runs to results: every model evaluated on the same documents, timed together."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from rich.progress import Progress

from clinlm.config.console import interactive
from clinlm.config.errors import ConfigError
from clinlm.config.targets import instantiate
from clinlm.engines.deployment import Deployment
from clinlm.metrics import latency
from clinlm.metrics.bootstrap import Interval, Values, resample
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.latency import Latency
from clinlm.metrics.noninferiority import NonInferiority, judge
from clinlm.models.artifact import stored_tokenizer
from clinlm.pipeline import execution
from clinlm.pipeline.gates import Gate
from clinlm.pipeline.protocol import Protocol
from clinlm.pipeline.run_record import RunRecord
from clinlm.predict.note_answer import network_answer
from clinlm.report import deployments, gates
from clinlm.report.baselines import BASELINES, INT8_BASELINE, ComparedModel, baselines, keyword_notices
from clinlm.report.cascades import Cascade
from clinlm.report.domination import with_domination
from clinlm.report.ensembles import (
    TeacherEnsemble,
    ensembles_of_run,
    ensembles_of_sweep,
    insert_ensembles,
    student_notice,
)
from clinlm.report.kept_latencies import LatencySession
from clinlm.report.results import ModelResult
from clinlm.report.selection import every_stage, last_stages, measured_costs
from clinlm.report.settings import ReportSettings
from clinlm.report.timing import judge_latencies
from clinlm.report.uncertainty import UncertaintyMeter
from clinlm.report.verdicts import verdict_notices, with_verdicts
from clinlm.tasks.base import MANY_UNKNOWN, Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.teachers.base import Measured

TOGETHER: Final = 2**30
"""Bytes of the models that are in memory at a time while they are timed, the largest aside."""


def evaluate(
    runs: Sequence[RunRecord], task: Task | None = None, stages: bool = False, split: Measured = "test"
) -> tuple[list[ModelResult], list[str]]:
    """Return the results and notices of `compare`."""
    found = compare(runs, task, stages, split)
    return found.results, found.notices


@final
@dataclass(frozen=True)
class Compared:
    """A comparison, and what it was computed from.

    Attributes:
        results: baselines first.
        notices: about all of them.
        evaluations: predictions and truth by the name of a result; none of a baseline that could not be fitted.
        cascade: folder of the pipeline's cascade; None where it has none.
    """

    results: list[ModelResult]
    notices: list[str]
    evaluations: Mapping[str, Evaluation]
    cascade: Path | None = None


def compare(
    runs: Sequence[RunRecord],
    task: Task | None = None,
    stages: bool = False,
    split: Measured = "test",
    among: Sequence[RunRecord] | None = None,
) -> Compared:
    """Evaluate the models of `runs`, the baselines of their task, the ensembles of their teachers, and the cascade.

    Differences and compression refer to a model's own reference, speed-ups to the first model of role teacher.
    Thresholds are those that a model is served with (`serving.json`), fitted on validation. Latency is that of a
    document from its text to its decisions: for a network, in eager float32, and its own part besides; for an ensemble
    through all members. With `report.engine`, every model is evaluated a second time as that engine runs it.

    Args:
        runs: at least one, all on one task; the settings of the report are those of the first.
        task: of the runs, opened; None opens it.
        stages: compare every stage of the only run; otherwise every teacher and the last stage of every run.
        split: whose documents models are evaluated and timed on. With "validation", nothing of test is computed.
        among: see `clinlm.report.selection.last_stages`.

    Raises:
        ConfigError: there is no teacher to compare with.
    """
    run, root = runs[0], Path(runs[0].store)
    settings: ReportSettings = instantiate(dict(run.report))
    if task is None:
        task, _ = execution.open_task_from(dict(run.task.settings), root)
    models = every_stage(run) if stages else last_stages(runs, among)
    first = _first_teacher(models)
    shown = ensembles_of_run(run, first) if stages else ensembles_of_sweep(runs, models)
    known, failed = baselines(task, run.task.key, root, first)
    predictors, weights = insert_ensembles(task, [*known, *(_predictor(task, model) for model in models)], shown)
    deployed, times, engines = _deployed(task, models, predictors, settings, root, first, split)
    predictors = [own for model in predictors for own in (model, deployed.get(model.result.name)) if own is not None]
    cascade: Cascade | None = None
    if stages and settings.cascade is not None:
        cascade, predictors = _cascaded(task, predictors, (first, models[-1].name), settings, split, root)
        times = {**times, cascade.name: cascade.times[cascade.name]}
    comparison = _Comparison(task, settings, predictors, gates.known_gates(run), split)
    shown_times, timing = judge_latencies(times, settings.busy)
    results = [comparison.result(own, shown_times.get(own.result.name)) for own in predictors]
    results = with_domination([*failed, *results], run.monitor.removeprefix("val/"))
    if split == "test":  # to choose by validation is to claim nothing
        results = with_verdicts(results, runs, stages, comparison.judge)
    notices = [*_truncated(results), *(notice for own in failed for notice in own.notices), *engines, *timing]
    notices += [*verdict_notices(results), *keyword_notices(results), *weights]
    notices += comparison.notices(results, shown, cascade)
    return Compared(results, notices, comparison.evaluations, cascade and cascade.folder)


def _first_teacher(models: Sequence[ModelResult]) -> str:
    for model in models:
        if model.role == "teacher":
            return model.name
    raise ConfigError(
        f"a comparison needs a stage of role teacher, got {', '.join(model.name for model in models)}; set "
        "stages.NAME.role=teacher"
    )


def _predictor(task: Task, model: ModelResult) -> ComparedModel:
    artifact = model.lineage.artifact
    config, reads = InferenceConfig.load(artifact.folder), artifact.report.get("reads")
    if reads is None:  # of a version before stages kept it
        reads = task.read_share(stored_tokenizer(artifact.folder), config.max_tokens)
    notes, way = len(task.examples.frame), type(task.long_notes).__name__
    cut = f"{reads['cut']:,} of {notes:,} notes are cut at {config.max_tokens} tokens a row ({way})"
    unread = f"{reads['unknown']:.1%} of the tokens of the training notes are not in the vocabulary"
    notices = [cut] * bool(reads["cut"]) + [unread] * (reads["unknown"] > MANY_UNKNOWN)
    result = replace(measured_costs(model), notices=tuple(notices))
    return ComparedModel.of(
        result,
        config,
        artifact.predictions,
        lambda: network_answer(artifact.load(), config).phased(),
    )


def _deployed(
    task: Task,
    models: Sequence[ModelResult],
    predictors: Sequence[ComparedModel],
    settings: ReportSettings,
    root: Path,
    first: str,
    split: Measured,
) -> tuple[Mapping[str, ComparedModel], Mapping[str, Latency], list[str]]:
    """Export and time all models.

    Returns:
        the fastest deployment by the name of its artifact's result, latencies by name, and lines about engines.
    """
    by_name = {predictor.result.name: predictor for predictor in predictors}
    exported: deployments.Exports = {}
    if settings.engine is not None:
        artifacts = {model.name: model.lineage.artifact for model in models}
        exported = deployments.exports(artifacts, settings.engine, task, root)
    every = [
        deployments.deployment_predictor(export, by_name[name])
        for name, own in exported.items()
        for export in own.values()
        if isinstance(export, Deployment)
    ]
    times = _latencies(task, [*predictors, *every], first, settings, split, root)
    kept, lines = deployments.fastest(exported, times)
    return {own.result.deployment["of"]: own for own in every if own.result.name in kept}, times, lines


def _latencies(
    task: Task,
    predictors: Sequence[ComparedModel],
    reference: str,
    settings: ReportSettings,
    split: Measured,
    root: Path,
) -> Mapping[str, Latency]:
    """Return the latencies of all models by name: kept in the store `root`, or measured now and kept there."""
    members = task.examples.members(split)
    chosen = np.random.default_rng(settings.seed).permutation(members)[: settings.latency_documents]
    texts: list[str] = task.examples.frame["text"].gather(chosen).to_list()
    timed = [predictor for predictor in predictors if predictor.opens is not None]
    opens = {predictor.result.name: predictor.opens for predictor in timed if predictor.opens is not None}
    of = {"passes": settings.latency_passes, "seed": settings.seed}
    session = LatencySession.of(root, [predictor.result for predictor in timed], texts, reference, of)
    kept = session.read() if settings.latency == "kept" else None
    if kept is not None:
        return kept
    groups = latency.parted({own.result.name: own.result.bytes for own in timed}, reference, TOGETHER)
    found: dict[str, Latency] = {}
    with Progress(transient=True, disable=not interactive()) as progress:
        bar = progress.add_task("timing all models", total=len(chosen) * settings.latency_passes * len(groups))
        for group in groups:
            times = latency.measure(
                {name: opens[name]() for name in group},
                texts,
                passes=settings.latency_passes,
                reference=reference,
                seed=settings.seed,
                advance=lambda: progress.advance(bar),
            )
            found = times | found  # what several groups are compared with counts as it was measured first
            gc.collect()  # networks hold themselves
    times = {name: found[name] for name in opens}
    session.write(times)
    return times


def _cascaded(
    task: Task,
    predictors: Sequence[ComparedModel],
    ends: tuple[str, str],
    settings: ReportSettings,
    split: Measured,
    root: Path,
) -> tuple[Cascade, list[ComparedModel]]:
    """Make the cascade of a pipeline, time it with both its models and the first teacher, and insert its row.

    Args:
        ends: names of the rows of the first teacher and of the last stage.

    Returns:
        the cascade, and all rows: its own is above that of its first model.
    """
    assert settings.cascade is not None
    cascade = Cascade(task, settings.cascade, predictors, ends[1], root)
    row, found = cascade.predictor(), list(predictors)
    compared = [own for own in predictors if own.result.name == ends[0] or own in cascade.members]
    cascade.times = _latencies(task, [*compared, row], ends[0], settings, split, root)
    found.insert(found.index(cascade.members[0]), row)
    return cascade, found


class _Comparison:
    """Computes results from predictions, each model's once."""

    def __init__(
        self,
        task: Task,
        settings: ReportSettings,
        predictors: Sequence[ComparedModel],
        known: Sequence[Gate],
        split: Measured,
    ) -> None:
        self._task, self._known, self._split = task, known, split
        self._bootstrap = settings.bootstrap(task, split)
        self._values: dict[str, dict[str, Values]] = {}
        self._by_name = {predictor.result.name: predictor for predictor in predictors}
        self.evaluations: dict[str, Evaluation] = {}
        self._meter = UncertaintyMeter(task, split, self._bootstrap)

    def result(self, predictor: ComparedModel, time: Latency | None) -> ModelResult:
        """Return the result of `predictor`."""
        own, reference = predictor.result, self._by_name[predictor.result.reference].result
        found = self._evaluation(own.name)
        table = found.label_intervals(**self._bootstrap) if isinstance(found, EntityEvaluation) else found.per_label()
        alone = own.name == reference.name
        floors = [name for name in BASELINES if name in self._by_name and own.kind != "baseline"]
        return replace(
            own,
            quality=found.quality(),
            intervals={name: Interval.percentile(values) for name, values in self._drawn(own.name).items()},
            differences={} if alone else self._change(own.name, reference.name),
            against_baselines={name: self._change(own.name, name) for name in floors},
            validation=self._evaluated(predictor, "validation").quality(),
            per_label=tuple(table.to_dicts()),
            latency=time,
            compression_parameters=_ratio(reference.parameters, own.parameters),
            compression_bytes=_ratio(reference.bytes, own.bytes),
            uncertainty=self._meter.measure(predictor, self._by_name[reference.name]),
            gates=() if own.deployment else gates.verdicts(self._task, own, self._known, self._split),
        )

    def notices(
        self, results: Sequence[ModelResult], shown: Sequence[TeacherEnsemble], cascade: Cascade | None
    ) -> list[str]:
        """Return notices about single rows: chosen on these documents, students of ensembles, the cascade."""
        found = []
        if self._split == "validation" and INT8_BASELINE in self.evaluations:
            found.append(f"{INT8_BASELINE} chose its terms on these documents: its numbers here flatter it")
        found += self._students(results, shown)
        if cascade is not None:
            change = self._change(cascade.name, cascade.members[1].result.name)[cascade.settings.metric]
            timed = any(own.name == cascade.name and own.latency is not None for own in results)
            found.append(cascade.notice(change, self._split, timed))
        return found

    def _students(self, results: Sequence[ModelResult], shown: Sequence[TeacherEnsemble]) -> list[str]:
        """Return a notice for every student, and every deployment of one, that compares it with its ensemble."""
        by_name = {result.name: result for result in results}
        return [
            student_notice(result, by_name[ensemble.result.name], self._change(result.name, ensemble.result.name))
            for ensemble in shown
            for result in results
            if {result.name, result.deployment.get("of")} & {*ensemble.students}
        ]

    def _change(self, name: str, reference: str) -> dict[str, Any]:
        ours, theirs = self._drawn(name), self._drawn(reference)
        return {metric: Interval.difference(ours[metric] - theirs[metric]) for metric in theirs}

    def judge(self, name: str, reference: str, protocol: Protocol) -> NonInferiority:
        """Return the verdict on a model by itself, against its reference."""
        metric, groups = protocol.metric, self._bootstrap["groups"]
        values = self._drawn(name)[metric] - self._drawn(reference)[metric]
        found = judge(values, metric, protocol.margin, self._evaluation(name).documents, groups)
        return replace(found, caveat=protocol.caveat)

    def _drawn(self, name: str) -> dict[str, Values]:
        """Return the metrics of a model on the documents as they are, and on every resample."""
        if name not in self._values:
            own = self._evaluation(name)
            self._values[name] = own.weighted(resample(own.documents, **self._bootstrap))
        return self._values[name]

    def _evaluation(self, name: str) -> Evaluation:
        if name not in self.evaluations:
            self.evaluations[name] = self._evaluated(self._by_name[name], self._split)
        return self.evaluations[name]

    def _evaluated(self, predictor: ComparedModel, split: Measured) -> Evaluation:
        probabilities = predictor.test if split == "test" else predictor.validation
        return self._task.evaluate(split, probabilities, predictor.thresholds)


def _ratio(reference: int, own: int) -> float:
    return reference / own if own else float("nan")


def _truncated(results: Sequence[ModelResult]) -> list[str]:
    """Return the notices that name the models that do not read every note to its end, or not every token."""
    models = [result for result in results if result.is_stage]
    found: dict[str, list[str]] = {}
    for model in models:
        for notice in model.notices:
            found.setdefault(notice, []).append(model.name)
    every = len(models)
    return [f"{notice} by {'every model' if len(n) == every else ', '.join(n)}" for notice, n in found.items()]
