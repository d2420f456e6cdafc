"""What the live view draws: a run as a table of its stages, a sweep as a table of its jobs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from clinlm.tracking.run_progress import RUNNING, RunProgress
from clinlm.tracking.stage_progress import StageProgress

_MARKS: Final = {
    "waiting": ("·", "dim"),
    "opening": ("▸", "cyan"),
    "training": ("▸", "bold cyan"),
    "measuring": ("▸", "cyan"),
    "reused": ("✓", "green"),
    "done": ("✓", "green"),
    "stopped": ("✗", "red"),
}
_WIDE: Final = 100
"""Columns from which on there is room for a bar."""
_NUMBER, _TIME = 6, 9
"""Columns of a value, and of a time that is left."""
_WORDS, _FEW_WORDS = 40, 31
"""Columns that say what a stage or job does, on a wide terminal and on another."""


@final
@dataclass(frozen=True)
class JobLine:
    """What a sweep shows of a job.

    Attributes:
        words: the overrides by which it differs.
        run: its progress; None before it has any.
        state: in one word.
    """

    words: str
    run: RunProgress | None
    state: Literal["waiting", "running", "done", "pruned", "failed", "stopped"]


def run_table(run: RunProgress, width: int) -> RenderableType:
    """Return a run: a line about all, and a line a stage.

    Args:
        width: columns of the terminal.
    """
    table = _table("stage", "progress", run.metric.removeprefix("val/") or "metric", width)
    for stage in run.stages:
        mark, style = _MARKS[stage.state]
        now, best = _values(stage, run.metric)
        table.add_row(Text(mark, style), Text(stage.name, style), *_doing(stage, width), now, best, _time(stage))
    return Group(Text(run_headline(run), "bold", no_wrap=True, overflow="ellipsis"), table)


def run_headline(run: RunProgress) -> str:
    """Return the line about a run: how many stages are done, the time so far, and what is left."""
    ended = sum(stage.state in ("done", "reused") for stage in run.stages)
    parts = [f"pipeline {run.pipeline}", f"{ended} of {len(run.stages)} stages", clock(time.time() - run.began)]
    if run.phase == "comparing":
        parts.append("comparing the models")
    elif run.phase == "stages" and (left := run.seconds_left()) is not None and ended < len(run.stages):
        parts.append(f"about {clock(left)} left")
    return " · ".join(parts)


def sweep_table(
    jobs: Mapping[int, JobLine], began: float, total: int, width: int, height: int, settings: str = ""
) -> RenderableType:
    """Return a sweep: a line about all, and a line a job, those that run before all others where there is no room.

    Args:
        jobs: by number.
        began: when the sweep began, as `time.time`.
        total: jobs of the sweep; a study asks for them one after the other.
        width: columns of the terminal.
        height: rows of the terminal.
        settings: in which the jobs differ, where their words are the values.
    """
    shown = _chosen({number: job.state for number, job in jobs.items()}, max(3, height - 6))
    metric = next((job.run.metric for job in jobs.values() if job.run is not None and job.run.metric), "metric")
    values = ("", "best") if width >= _WIDE else ("",)
    table = _table(f"job {settings}".rstrip(), "stage and progress", metric.removeprefix("val/"), width, values)
    for number in shown:
        table.add_row(*_job(number, jobs[number], width))
    rest = len(jobs) - len(shown)
    lines: list[RenderableType] = [Text(sweep_headline(jobs, began, total), "bold", no_wrap=True, overflow="ellipsis")]
    return Group(*lines, table, *([Text(f"  and {rest} more jobs", "dim")] if rest else []))


def sweep_headline(jobs: Mapping[int, JobLine], began: float, total: int) -> str:
    """Return the line about a sweep: how many jobs are done, the time so far, and what is left.

    A job that waits is taken to need as long as those before it did on average, as many at a time as run now.
    """
    if not jobs:
        return f"sweep: composing its jobs · {clock(time.time() - began)}"
    states = [job.state for job in jobs.values()]
    done, running, failed, pruned = (states.count(state) for state in ("done", "running", "failed", "pruned"))
    parts = [f"sweep: {done} of {max(total, len(jobs))} jobs done"]
    counted = (("running", running), ("failed", failed), ("pruned", pruned))
    parts += [f"{count} {state}" for state, count in counted if count]
    parts.append(clock(time.time() - began))
    waiting = max(total, len(jobs)) - done - running - failed - pruned
    if done and running:
        a_job = (time.time() - began) * running / (done + failed + pruned + running / 2)
        parts.append(f"about {clock(a_job * (waiting / running + 0.5))} left")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration: `0:42`, `12:05`, `3:20:00`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _table(first: str, second: str, metric: str, width: int, values: Sequence[str] = ("", "best")) -> Table:
    """Return an empty table whose second column and numbers are whole at any width; the first gives way.

    Args:
        values: headers of the columns of the metric; the metric itself where one is "".
    """
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False, show_edge=False)
    headers = [value or metric for value in values]
    taken = 2 + sum(max(_NUMBER, len(header)) + 1 for header in headers) + _TIME + 17 * (width >= _WIDE)
    words = (_WORDS if width >= _WIDE else _FEW_WORDS) + 1
    table.add_column("", width=1)
    table.add_column(first, no_wrap=True, overflow="ellipsis", max_width=max(8, width - taken - words - 1))
    table.add_column(second, no_wrap=True, overflow="ellipsis")
    if width >= _WIDE:
        table.add_column("", width=16)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True, min_width=max(_NUMBER, len(header)))
    table.add_column("time", justify="right", no_wrap=True, min_width=_TIME)
    return table


def _doing(stage: StageProgress, width: int) -> list[RenderableType]:
    """Return the cell that says what a stage does, and a bar where there is room."""
    bar: list[RenderableType] = []
    if width >= _WIDE:
        share = (max(0, stage.epoch - 1) + (stage.step / stage.steps if stage.steps else 0)) / max(1, stage.epochs)
        bar = [ProgressBar(total=1.0, completed=share, width=16) if stage.state == "training" else Text("")]
    return [Text(stage_words(stage), "dim" if stage.state == "waiting" else ""), *bar]


def stage_words(stage: StageProgress) -> str:
    """Return what a stage does in words: `epoch 2 of 3, step 34 of 120`."""
    if stage.state == "training" and stage.epoch:
        return f"epoch {stage.epoch} of {stage.epochs}, step {stage.step} of {stage.steps}"
    if stage.state == "done":
        return f"done, {stage.epoch} epoch{'s' * (stage.epoch > 1)}" if stage.epoch else "done"
    words = {"training": "preparing", "opening": "waiting for another job", "measuring": "saving, measuring"}
    return words.get(stage.state, stage.state)


def _values(stage: StageProgress, metric: str) -> tuple[str, str]:
    """Return the last and the best value, with the name of a metric that is not that of the run."""
    other = f"{stage.metric} " if stage.metric and stage.metric != metric.removeprefix("val/") else ""
    now, best = ("" if value is None else f"{value:.4f}" for value in (stage.now, stage.best))
    return (f"{other}{now}" if now else ""), best


def _time(stage: StageProgress) -> str:
    if stage.seconds is not None:
        return clock(stage.seconds)
    if stage.state == "training" and stage.left is not None:
        return f"{clock(stage.left)} left"
    if stage.state in RUNNING and stage.began is not None:
        return clock(time.time() - stage.began)
    return ""


def _job(number: int, job: JobLine, width: int) -> list[RenderableType]:
    marks = {"running": "training", "pruned": "reused", "failed": "stopped"}
    mark, style = _MARKS[marks.get(job.state, job.state)]
    cells: list[RenderableType] = [Text(mark, style), Text(f"{number} {job.words}", style)]
    run = job.run if job.run is not None else RunProgress()
    ended = [stage for stage in run.stages if stage.state in ("done", "reused")]
    current = next((stage for stage in run.stages if stage.state in RUNNING), None)
    if job.state == "running" and current is not None:
        left = run.seconds_left()
        words = f"{current.name}, {_short(current, width)}"
        words = f"{len(ended) + 1}/{len(run.stages)} {words}" if width >= _WIDE else words
        values, age = _values(current, run.metric), "" if left is None else f"{clock(left)} left"
    else:
        words = "comparing the models" if job.state == "running" and run.phase == "comparing" else job.state
        last = next((stage for stage in reversed(ended) if stage.best is not None), None)
        values = ("", "") if last is None else _values(last, run.metric)
        words = "starting" if job.state == "running" and not run.stages else words
        age = "" if run.ended is None else clock(run.ended - run.began)
    bar = (
        _doing(current, width)[1:] if current is not None and job.state == "running" else [Text("")] * (width >= _WIDE)
    )
    shown = values if width >= _WIDE else values[1:]
    return [*cells, Text(words, "dim" if job.state == "waiting" else ""), *bar, *shown, age]


def _short(stage: StageProgress, width: int) -> str:
    """Return what a stage does in few columns: `epoch 2/3, 34/120`."""
    if stage.state == "training" and stage.epoch:
        return f"epoch {stage.epoch}/{stage.epochs}" + f", {stage.step}/{stage.steps}" * (width >= _WIDE)
    return {"training": "preparing", "measuring": "measuring"}.get(stage.state, "waiting for another job")


def _chosen(states: Mapping[int, str], rows: int) -> list[int]:
    """Return the numbers of `rows` jobs at most: those that run, the last that ended, the next that wait."""
    running = [number for number, state in states.items() if state == "running"]
    ended = [number for number, state in states.items() if state not in ("running", "waiting")]
    waiting = [number for number, state in states.items() if state == "waiting"]
    return sorted([*running, *waiting[:1], *reversed(ended), *waiting[1:]][:rows])
