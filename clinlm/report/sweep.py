"""After a sweep: one table over all its pipelines, all models timed together, and the published table beside ours."""

import json
import logging
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.models.artifact import Artifact
from clinlm.report import pareto
from clinlm.report.candidates import Chosen, chosen, taught
from clinlm.report.ensembles import Assembly
from clinlm.report.gates import Subject
from clinlm.report.pareto import Point
from clinlm.report.published import Published
from clinlm.report.readings import print_published, read
from clinlm.report.row import Row
from clinlm.sweepers.study import STUDY

log = logging.getLogger(__name__)
RUN = "run.json"
"""What every pipeline leaves in its folder for the sweep's table."""


class SweepTable(Callback):
    """Hydra's callback: when all jobs of a sweep are done, compare what they made."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the last stage of every job with its teacher. Jobs that failed left no `run.json`; they are named."""
        folder = Path(config.hydra.sweep.dir)
        jobs = finished(folder)
        runs = [json.loads((job / RUN).read_text(encoding="utf-8")) for job in jobs]
        by_task: dict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(runs):
            by_task[one["task"]["key"]].append(number)
        for key, numbers in by_task.items():
            place = folder if len(by_task) == 1 else folder / f"task-{key}"
            place.mkdir(exist_ok=True)
            job_config = OmegaConf.load(jobs[numbers[0]] / ".hydra" / "config.yaml")
            assert isinstance(job_config, DictConfig)
            if len(by_task) > 1:
                log.info("%s: %s", place.name, " ".join(_shared(runs, numbers)) or "as the others")
            summarise([runs[n] for n in numbers], job_config, place, "table")


def summarise(runs: Sequence[Mapping[str, Any]], config: DictConfig, folder: Path, name: str) -> list[Row]:
    """Print and write the table of `runs`, all on the task of `config`, and what the paper printed beside it."""
    from clinlm.config.console import make_console
    from clinlm.config.resolvers import register_resolvers
    from clinlm.pipeline import execution
    from clinlm.report import external_table, safety
    from clinlm.report.comparison import Settings, compare
    from clinlm.report.external import opened_external
    from clinlm.report.table import render, write

    register_resolvers()
    settings: Settings = instantiate(config.report)
    task, task_key = execution.open_task(config)
    models = chosen(runs)
    candidates = [model.candidate() for model in models]
    shown = taught(runs, models, Path(config.store))
    rows, notices, per_label = compare(task, task_key, candidates, settings, Path(config.store), shown)
    write(rows, folder, name, per_label, [*task.examples.notices, *notices])
    console = make_console()
    console.print(render(rows, f"the last stage of {len(runs)} pipelines, on test, beside their teacher"))
    lines = [*(f"note: {notice}" for notice in notices), *safety.verdicts(task, compressed(runs), rows, config, folder)]
    if task.by_word:
        other, places = opened_external(config, task, task_key), (Path(config.store), folder)
        lines += external_table.told(task, other, rows, per_label, notices, candidates, settings, places)
    for line in [*lines, shared(runs), f"report     {folder / f'{name}.md'}"]:
        console.print(line, soft_wrap=True, markup=False)
    named: list[Chosen | Assembly] = [*models, *shown]
    groups = {row.name: row.name for row in rows} | {model.name: model.group for model in named}
    groups |= {row.name: groups[row.deployment["of"]] for row in rows if row.deployment}
    readings = read(task, rows, per_label, {one.name: one.artifact for one in candidates}, folder)
    if settings.published is not None:
        published = Published.named(settings.published)
        if published.has(groups.values()):
            told = [*task.examples.notices, *notices]
            print_published(published, readings, groups, told, folder, console)
    points = pareto_points(rows, named, str(config.monitor).removeprefix("val/"))
    if len(points) > 2:
        for path in pareto.write(points, str(config.monitor).removeprefix("val/"), folder):
            console.print(f"front      {path}", soft_wrap=True)
    return rows


def pareto_points(rows: Sequence[Row], models: Sequence[Chosen | Assembly], metric: str) -> list[Point]:
    """Return every row that was timed as a point: chosen by validation, with test beside it."""
    overrides = {model.name: model.overrides for model in models}
    overrides |= {row.name: overrides[row.deployment["of"]] for row in rows if row.deployment}
    return [
        Point(
            name=row.name,
            quality=row.validation[metric],
            bytes=row.bytes,
            latency_ms=row.latency.p50_ms,
            test_quality=row.quality[metric],
            command=shlex.join(["clinlm", *overrides[row.name]]) if row.name in overrides else "# fitted in every run",
            test_interval=row.intervals[metric],
        )
        for row in rows
        if row.latency is not None
    ]


def compressed(runs: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """Return the last stage of every run that compressed, once each, beside the first teacher of its run."""
    found = {}
    for model in chosen(runs):
        for run in runs:
            last = run["stages"][-1]
            first = next((one for one in run["stages"] if one["role"] == "teacher"), run["stages"][0])
            if model.folder == last["folder"] and last.get("techniques"):
                original, own = (Artifact(Path(one["folder"])) for one in (first, last))
                found[model.name] = Subject(model.name, original, own, tuple(last["techniques"]))
    return list(found.values())


def shared(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return how many stages the runs asked for, and how many were built for it."""
    asked = [stage["folder"] for run in runs for stage in run["stages"]]
    built = [stage["folder"] for run in runs for stage in run["stages"] if not stage["cached"]]
    different = len(set(asked))
    return (
        f"stages     {len(asked)} asked for, {different} different, {len(built)} built now, the rest shared or reused"
    )


def _shared(runs: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> list[str]:
    """Return the overrides that all runs of one task have, and not all runs of the sweep."""
    told = [set(one.get("overrides", ())) for one in runs]
    kept = set.intersection(*(told[number] for number in numbers)) - set.intersection(*told)
    return [one for one in runs[numbers[0]].get("overrides", ()) if one in kept]


def finished(folder: Path) -> list[Path]:
    """Return the folders of the jobs that finished, in order; those that did not are named in a warning."""
    jobs = _finished(folder)
    started = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
    failed = sorted({job.name for job in started} - {job.name for job in jobs})
    if failed:
        log.warning("%d jobs of the sweep did not finish: %s", len(failed), ", ".join(failed))
    return jobs


def _finished(folder: Path) -> list[Path]:
    """Return the folders of the jobs that finished: of a study, also those of earlier runs of the command."""
    if (folder / STUDY).is_file():
        trials = json.loads((folder / STUDY).read_text(encoding="utf-8"))["trials"]
        places = [Path(one["folder"]) for one in trials if one["folder"]]
        return [place for place in places if (place / RUN).is_file()]
    return [path.parent for path in sorted(folder.glob(f"*/{RUN}"), key=lambda path: _natural(path.parent.name))]


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)
