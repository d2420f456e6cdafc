"""After a sweep: one table over all its pipelines, all models timed together, and the published table beside ours."""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from clinlm.report.row import Row

log = logging.getLogger(__name__)
RUN = "run.json"
"""What every pipeline leaves in its folder for the sweep's table."""


class SweepTable(Callback):
    """Hydra's callback: when all jobs of a sweep are done, compare what they made."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the last stage of every job with its teacher. Jobs that failed left no `run.json`; they are named."""
        folder = Path(config.hydra.sweep.dir)
        jobs = [path.parent for path in sorted(folder.glob(f"*/{RUN}"), key=lambda p: _natural(p.parent.name))]
        started = [path.parent.parent for path in folder.glob("*/.hydra/overrides.yaml")]
        failed = sorted({job.name for job in started} - {job.name for job in jobs})
        if failed:
            log.warning("%d jobs of the sweep did not finish: %s", len(failed), ", ".join(failed))
        runs = [json.loads((job / RUN).read_text(encoding="utf-8")) for job in jobs]
        by_task: dict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(runs):
            by_task[one["task"]["key"]].append(number)
        for key, numbers in by_task.items():
            name = "table" if len(by_task) == 1 else f"table-{key}"
            job_config = OmegaConf.load(jobs[numbers[0]] / ".hydra" / "config.yaml")
            assert isinstance(job_config, DictConfig)
            summarise([runs[n] for n in numbers], job_config, folder, name)


def summarise(runs: Sequence[Mapping[str, Any]], config: DictConfig, folder: Path, name: str) -> list[Row]:
    """Print and write the table of `runs`, all on the task of `config`, and the published table beside it."""
    from clinlm import machine, pipeline
    from clinlm.artifact import Artifact
    from clinlm.report.comparison import Settings, compare
    from clinlm.report.table import render, write

    machine.register()
    settings: Settings = instantiate(config.report)
    task, task_key = pipeline.open_task(config)
    models = [(n, role, Artifact(Path(f)), cached) for n, role, f, cached in chosen(runs)]
    rows, notices, per_label = compare(task, task_key, models, settings, Path(config.store))
    write(rows, folder, name, per_label, [*task.examples.notices, *notices])
    console = machine.console()
    console.print(render(rows, f"the last stage of {len(runs)} pipelines, on test, beside their teacher"))
    for line in [*(f"note: {notice}" for notice in notices), shared(runs), f"report     {folder / f'{name}.md'}"]:
        console.print(line, soft_wrap=True)
    beside = by_pipeline(rows)
    if settings.published is not None and len(beside) > 1:
        _print_published(settings.published, beside, folder, console)
    return rows


def chosen(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, bool]]:
    """Return name, role, folder and cached of what to compare: every teacher, then the last stage of every run."""
    teachers: dict[str, tuple[str, str, str, bool]] = {}
    lasts: dict[str, tuple[str, str, str, bool]] = {}
    seeds = {run["seed"] for run in runs}
    for run in runs:
        first, last = run["stages"][0], run["stages"][-1]
        ending = f" s{run['seed']}" if len(seeds) > 1 else ""
        teachers.setdefault(first["folder"], (f"teacher{ending}", first["role"], first["folder"], first["cached"]))
        if last is not first:
            label = f"{run['pipeline']}{ending}"
            while label in lasts:  # other settings were swept too: number the runs that share a name
                label += "'"
            lasts[label] = (label, last["role"], last["folder"], last["cached"])
    named: dict[str, tuple[str, str, str, bool]] = {}
    for name, role, place, cached in teachers.values():
        while name in named:
            name += "'"
        named[name] = (name, role, place, cached)
    return [*named.values(), *lasts.values()]


def shared(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return how many stages the runs asked for, and how many were built for it."""
    asked = [stage["folder"] for run in runs for stage in run["stages"]]
    built = [stage["folder"] for run in runs for stage in run["stages"] if not stage["cached"]]
    different = len(set(asked))
    return (
        f"stages     {len(asked)} asked for, {different} different, {len(built)} built now, the rest shared or reused"
    )


def by_pipeline(rows: Sequence[Row]) -> dict[str, Row]:
    """Return TF-IDF, teacher and one row a pipeline; over several seeds, the mean of their numbers."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.name.partition(" s")[0]].append(row)
    return {name: _mean(members) for name, members in groups.items() if "'" not in name}


def _mean(rows: Sequence[Row]) -> Row:
    first = rows[0]
    if len(rows) == 1:
        return first
    quality = {metric: float(np.mean([row.quality[metric] for row in rows])) for metric in first.quality}
    time = first.latency
    if time is not None:
        times = [row.latency for row in rows if row.latency is not None]
        p50, speedup = (float(np.mean([getattr(t, name) for t in times])) for name in ("p50_ms", "speedup"))
        time = replace(time, p50_ms=p50, speedup=speedup)
    return replace(first, quality=quality, latency=time)


def _print_published(published: str, rows: Mapping[str, Row], folder: Path, console: Console) -> None:
    from clinlm.report.published import Published, side_by_side
    from clinlm.settings import CONF

    table, markdown = side_by_side(rows, Published.read(CONF / "published" / f"{published}.yaml"))
    (folder / "published.md").write_text(markdown, encoding="utf-8")
    console.print(table)


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)
