"""Selects the models that a report compares, and names them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RunRecord, StageRecord
from clinlm.report.results import Lineage, ModelResult

_NAMED = ("pipeline", "seed")


def every_stage(run: RunRecord) -> list[ModelResult]:
    """Return every stage of a run, compared with its first teacher; what is measured is filled in later.

    Raises:
        ConfigError: no stage has the role teacher.
    """
    first = _first_teacher(run)
    if first is None:
        raise ConfigError(
            f"a comparison needs a stage of role teacher, got {', '.join(stage.name for stage in run.stages)}; set "
            "stages.NAME.role=teacher"
        )
    return [
        _result(stage.name, stage.name, first.name, run, stage, run.overrides, first.folder if stage.techniques else "")
        for stage in run.stages
    ]


def last_stages(runs: Sequence[RunRecord], among: Sequence[RunRecord] | None = None) -> list[ModelResult]:
    """Return every teacher, then the last stage of every run: what a sweep compares.

    A pipeline of a single stage gives its name to that stage; teachers of longer ones are called `teacher`, and those
    of an ensemble, the first aside, as their stage (`teacher_2`). Settings that differ between runs, and seeds where
    there are several, are part of the name. Of runs that end in the same artifact, which differ in what changes no
    stage, the first counts.

    Args:
        among: runs whose differences make the names; None for `runs`.
    """
    every = runs if among is None else among
    seeds = {run.seed for run in every}
    varied = _varied(every)
    endings = [f" s{run.seed}" if len(seeds) > 1 else "" for run in runs]
    groups = [f"{run.pipeline}{''.join(f' {setting}' for setting in _own_settings(run, varied))}" for run in runs]
    alone = {run.stages[0].folder: number for number, run in enumerate(runs) if len(run.stages) == 1}
    teachers: dict[str, ModelResult] = {}
    taken: set[str] = set()
    for number, run in enumerate(runs):
        first = run.stages[0]
        if first.folder not in teachers:
            own = alone.get(first.folder)
            group = "teacher" if own is None else groups[own]
            name = distinct(f"{group}{endings[number]}", taken)
            overrides = runs[number if own is None else own].overrides
            original = "" if own is None else _original(runs[own], first)
            teachers[first.folder] = _result(name, group, name, run, first, overrides, original)
        for other in _other_members(run):
            if other.folder not in teachers:
                name = distinct(f"{other.name}{endings[number]}", taken)
                teachers[other.folder] = _result(name, other.name, name, run, other, run.overrides, "")
    lasts: list[ModelResult] = []
    ended: set[tuple[int, str]] = set()
    for run, ending, group in zip(runs, endings, groups, strict=True):
        first, last = run.stages[0], run.stages[-1]
        if last is not first and (run.seed, last.folder) not in ended:
            ended.add((run.seed, last.folder))
            name, reference = distinct(f"{group}{ending}", taken), teachers[first.folder].name
            lasts.append(_result(name, group, reference, run, last, run.overrides, _original(run, last)))
    return [*teachers.values(), *lasts]


def _other_members(run: RunRecord) -> list[StageRecord]:
    """Return the members of the first stage's ensemble but for itself.

    Members share a stage of the configuration, and with it a role.
    """
    first, *others = run.stages
    return [stage for stage in others if (stage.configured, stage.role) == (first.configured, first.role)]


def measured_costs(result: ModelResult) -> ModelResult:
    """Return the result of a stage with the costs that its artifact's report has."""
    artifact = result.lineage.artifact
    costs = {name: artifact.report[name] for name in ("parameters", "nonzero", "bytes", "peak_mib", "seconds")}
    lineage = replace(result.lineage, parent=(artifact.record.get("parents") or {}).get("start") or "")
    return replace(result, key=artifact.key, lineage=lineage, **costs)


def _result(
    name: str,
    group: str,
    reference: str,
    run: RunRecord,
    stage: StageRecord,
    overrides: Sequence[str],
    original: str,
) -> ModelResult:
    role: Literal["teacher", "student"] = "teacher" if stage.role == "teacher" else "student"
    lineage = Lineage(
        pipeline=run.pipeline,
        stage=stage.name,
        folder=str(stage.folder),
        teachers=tuple(stage.teachers),
        techniques=tuple(stage.techniques),
        overrides=tuple(overrides),
        original=str(original),
    )
    return ModelResult(name, "stage", "", role, group, reference, cached=stage.cached, lineage=lineage)


def _first_teacher(run: RunRecord) -> StageRecord | None:
    return next((stage for stage in run.stages if stage.role == "teacher"), None)


def _original(run: RunRecord, stage: StageRecord) -> str:
    """Return the folder of what gates compare a last stage with; "" where nothing compressed it."""
    return str((_first_teacher(run) or run.stages[0]).folder) if stage.techniques else ""


def _varied(runs: Sequence[RunRecord]) -> list[str]:
    """Return the overridden settings, except pipeline and seed, that differ between runs, in the order typed.

    A run records what its pipeline reads: that another pipeline lacks a setting is no difference.
    """
    every = [(run.pipeline, _settings(run)) for run in runs]
    pipelines = dict.fromkeys(pipeline for pipeline, _ in every)
    varied = []
    for key in dict.fromkeys(key for _, own in every for key in own if key not in _NAMED):
        values = {own[key] for _, own in every if key in own}
        within = [{own.get(key) for pipeline, own in every if pipeline == name} for name in pipelines]
        if len(values) > 1 or max(map(len, within)) > 1:
            varied.append(key)
    return varied


def _own_settings(run: RunRecord, varied: Sequence[str]) -> list[str]:
    own = _settings(run)
    return [f"{key.rpartition('.')[2]}={_short(own[key])}" for key in varied if key in own]


def _settings(run: RunRecord) -> dict[str, str]:
    return {key: value for key, sign, value in (override.partition("=") for override in run.overrides) if sign}


def _short(value: str) -> str:
    """Return three digits of a number drawn by an optimiser: enough to tell rows apart."""
    try:
        return f"{float(value):.3g}" if "." in value else value
    except ValueError:
        return value


def distinct(name: str, taken: set[str]) -> str:
    """Return `name`, with a prime where it is taken, and take it."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name
