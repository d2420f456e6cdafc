"""What a dashboard is told of finished runs: stages, pipelines and sweeps, from what their reports hold."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinlm.pipeline.run_record import RunRecord, StageRecord
from clinlm.report.columns import run_tags, summary_columns, total_seconds
from clinlm.report.html.page import PAGE
from clinlm.report.html.sources import Sources
from clinlm.report.nested import best_on_validation
from clinlm.report.results import ModelResult
from clinlm.report.tracked_artifacts import (
    corpus_artifact,
    deployment_artifact,
    distinct_artifacts,
    stage_artifact,
    stage_parents,
)
from clinlm.report.tracked_tables import report_tables
from clinlm.report.written import WrittenReport
from clinlm.tracking.base import Announcement, RunLogger, TrackedRun


def announcements(
    names: Sequence[str], chosen: Mapping[str, Mapping[str, Any]], overrides: Sequence[str]
) -> dict[str, Announcement]:
    """Return, by stage, what is known before a pipeline starts.

    Args:
        names: of the stages.
        chosen: see `clinlm.config.chosen.chosen_settings`.
    """
    pipeline, line = str(chosen[""].get("pipeline", "pipeline")), typed_command(overrides)
    found = {}
    for name in names:
        settings = {**chosen.get(re.sub(r"_\d+$", "", name), chosen[""]), "stage": name, "overrides": [*overrides]}
        found[name] = Announcement(f"{pipeline}/{name}", settings, line)
    return found


def publish_run(report: WrittenReport, logger: RunLogger) -> None:
    """Log every stage of the only run of a report, built or reused, and then the pipeline."""
    (run,) = report.runs
    results = {result.key: result for result in report.results if result.is_stage}
    gate = _gate(run)
    for stage in run.stages:
        result = results.get(stage.key)
        logger.publish(_stage(run, stage, result, gate))
    logger.publish(_pipeline(report, run, gate))


def publish_sweep(report: WrittenReport, logger: RunLogger) -> None:
    """Log a sweep: the columns of the model that its report is about, which validation chose, and the tables of all."""
    first = report.runs[0]
    metric = first.monitor.removeprefix("val/")
    by_name = {result.name: result for result in report.results}
    best = by_name.get(report.subject) or best_on_validation(report.results, metric)
    sources = Sources(report, metric, best, best, first.split)
    stages = {stage.folder: stage for run in report.runs for stage in run.stages}
    used = [*map(corpus_artifact, report.runs), *(stage_artifact(Path(run.stages[-1].folder)) for run in report.runs)]
    used = [*distinct_artifacts(used)]
    common = [own for own in first.overrides if all(own in run.overrides for run in report.runs)]
    shared = {
        name: value
        for name, value in first.settings.items()
        if all(run.settings.get(name) == value for run in report.runs)
    }
    settings = {
        **shared,
        "pipeline": sorted({run.pipeline for run in report.runs}),
        "overrides": common,
        "jobs": len(report.runs),
        **({"resplits": first.resplits} if first.resplits > 1 else {}),
        "best": best.name,
        "parents": sorted(artifact.name for artifact in used),
    }
    seconds = _built_seconds(stages.values())
    logger.publish(
        TrackedRun(
            name=f"sweep {report.folder.name}",
            kind="sweep",
            key=report.folder.name,
            settings=settings,
            summary=summary_columns(best, first.split, seconds, all(own.cached for own in stages.values())),
            tables=report_tables(report.results, first, report.folder, sources.validation),
            files=({} if best.splits else _files(sources.place)) | _files(report.folder),
            uses=tuple(used),
            tags=run_tags(best, "sweep", _gate(first)),
            command=report.typed or typed_command([*common, "-m"]),
        )
    )


def typed_command(overrides: Sequence[str]) -> str:
    """Return what is typed."""
    return shlex.join(["clinlm", *overrides])


def _stage(run: RunRecord, stage: StageRecord, result: ModelResult | None, gate: str | None) -> TrackedRun:
    folder = Path(stage.folder)
    made, uses = stage_artifact(folder), distinct_artifacts(stage_parents(folder, run))
    own = {"stage": stage.name, "role": stage.role, "key": str(made.facts["key"])}
    settings = {**(stage.settings or run.settings), "seed": run.seed, "pipeline": run.pipeline, **own}
    settings |= {"overrides": [*run.overrides], "parents": [artifact.name for artifact in uses]}
    shown = None if result is None else replace(result, cached=stage.cached)
    return TrackedRun(
        name=f"{run.pipeline}/{stage.name}",
        kind="stage",
        key=str(made.facts["key"]),
        settings=settings,
        summary=summary_columns(shown, run.split, cached=stage.cached),
        uses=uses,
        makes=(made,),
        tags=run_tags(result, "stage", gate),
        command=typed_command(run.overrides),
    )


def _pipeline(report: WrittenReport, run: RunRecord, gate: str | None) -> TrackedRun:
    last = run.stages[-1]
    result = next((own for own in reversed(report.results) if own.is_stage and own.key == last.key), None)
    own = [corpus_artifact(run), *(stage_artifact(Path(stage.folder)) for stage in run.stages)]
    settings = {**run.settings, "seed": run.seed, "pipeline": run.pipeline, "overrides": [*run.overrides]}
    parents = [artifact.name for artifact in own]
    settings |= {"key": Path(last.folder).name, "parents": parents, "stages": len(run.stages)}
    deployed = [deployment_artifact(result) for result in report.results if result.deployment]
    cached = all(stage.cached for stage in run.stages)
    return TrackedRun(
        name=run.pipeline,
        kind="pipeline",
        key=last.key,
        settings=settings,
        summary=summary_columns(result, run.split, total_seconds(report.results), cached),
        tables=report_tables(report.results, run, report.folder, report.json("validation.json")),
        files=_files(report.folder),
        uses=distinct_artifacts(own),
        makes=distinct_artifacts(deployed),
        tags=run_tags(result, "pipeline", gate),
        command=typed_command(run.overrides),
    )


def _built_seconds(stages: Any) -> float | None:
    """Return the seconds of training of all stages, those that other runs built included."""
    found = [stage_artifact(Path(stage.folder)).facts.get("seconds") for stage in stages]
    return float(sum(own for own in found if own is not None)) if found else None


def _gate(run: RunRecord) -> str | None:
    return None if run.gate is None else str(run.gate.get("name"))


def _files(folder: Path) -> dict[str, Path]:
    """Return the page and the pictures of a report by name, as far as they were written."""
    return {path.stem: path for path in (folder / PAGE, *sorted(folder.glob("*.png"))) if path.is_file()}
