"""The live view: what it draws of a run and of a sweep, and that it leaves loggers and streams as they were."""

import copy
import io
import logging
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from clinlm.cli import live
from clinlm.cli.live import LiveSweep, close_views, drawn, job_progress
from clinlm.cli.live_tables import JobLine, clock, run_table, sweep_table
from clinlm.config.console import WATCHED, interactive, make_console
from clinlm.tracking.planned_jobs import PlannedJobs
from clinlm.tracking.run_progress import PROGRESS, RunProgress


def example() -> RunProgress:
    """A run in the middle of its second stage, with a name as long as any."""
    run = RunProgress("c", "val/macro_f1")
    run.add_stages([("teacher", 3), ("recover_student", 3), ("prune_student_of_the_teacher", 0), ("quantize", 0)])
    run.begin("teacher")
    run.end("teacher", True, {})
    stage = run.build("recover_student")
    stage.epoch, stage.step, stage.steps, stage.now, stage.best, stage.left = 2, 34, 1200, 0.4123, 0.4301, 12.0
    return run


def lines(table: object, width: int) -> list[str]:
    """Draw on a terminal of a width, and return the lines."""
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_is_a_line_a_stage(width: int) -> None:
    shown = lines(run_table(example(), width), width)
    assert len(shown) == 6 and max(map(len, shown)) <= width
    assert "pipeline c · 1 of 4 stages" in shown[0] and "left" in shown[0] and "macro_f1" in shown[1]
    assert "reused" in shown[2] and "waiting" in shown[5]
    for part in ("recover_student", "epoch 2 of 3, step 34 of 1200", "0.4123", "0.4301", "0:12 left"):
        assert part in shown[3]


@pytest.mark.parametrize("width", [80, 120])
def test_a_sweep_is_a_line_a_job_and_those_that_run_are_always_there(width: int) -> None:
    words = "pipeline=pruning_structured quantize=static seed={}"
    jobs = {number: JobLine(words.format(number), None, "done" if number < 40 else "waiting") for number in range(60)}
    jobs[30] = JobLine(words.format(30), example(), "running")
    jobs[31] = JobLine(words.format(31), None, "failed")
    shown = lines(sweep_table(jobs, 0.0, 60, width, 24), width)
    assert len(shown) <= 24 and max(map(len, shown)) <= width
    assert "38 of 60 jobs done · 1 running · 1 failed" in shown[0]
    (own,) = [line for line in shown if "30 pipeline" in line]
    assert "recover_student, epoch 2/3" in own and "0.4301" in own and "0:12 left" in own
    assert "more jobs" in shown[-1]


def test_durations_are_read_as_a_clock() -> None:
    assert [clock(seconds) for seconds in (-1, 0.4, 42, 725, 12000)] == ["0:00", "0:00", "0:42", "12:05", "3:20:00"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[_Terminal, logging.StreamHandler[io.StringIO]]:
    """A terminal of 80 columns in place of standard error and output, and a handler that writes to it."""
    stream = _Terminal()
    for name in ("CI", WATCHED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    return stream, handler


def test_a_view_is_drawn_on_a_terminal_and_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, handler = terminal(monkeypatch)
    run = example()
    with pytest.raises(KeyboardInterrupt), drawn(run, draws=True):
        assert not interactive() and WATCHED in os.environ, "nothing else may draw"
        logging.getLogger("clinlm.pipeline.execution").info("stage 1 of 4")
        logging.getLogger("clinlm.tasks.base").warning("a notice")
        raise KeyboardInterrupt
    assert handler.stream is stream and handler.filters == [] and interactive() and WATCHED not in os.environ
    printed = stream.getvalue()
    assert "a notice" in printed and "stage 1 of 4" not in printed and "recover_student" in printed
    assert run.stages[1].state == "stopped" and run.phase == "ended"
    with drawn(run, draws=False):
        assert interactive()


def test_jobs_report_to_the_view_of_their_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream, handler = terminal(monkeypatch)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}, "trainer": {"enable_progress_bar": True}})
    sweep = LiveSweep()
    sweep.on_multirun_start(config)
    assert sweep._view is not None and copy.copy(sweep)._view is None, "launchers send Hydra's callbacks to jobs"
    PlannedJobs.add([["pipeline=a", "seed=0"], ["pipeline=b", "seed=0"]], first=0)
    folder = tmp_path / "0"
    folder.mkdir()
    with job_progress(folder) as run:
        run.pipeline = "a"
        run.add_stages([("teacher", 1)])
        logging.getLogger("clinlm.x").warning("a warning of the job")
        logging.getLogger("clinlm.x").info("a routine line")
        make_console().print("its table")
        assert live._own == [run] and RunProgress.read(folder / PROGRESS) is not None
        sweep._view._draw()  # type: ignore[union-attr]
    (folder / "run.json").touch()
    close_views()
    printed = stream.getvalue()
    assert "job pipeline" in printed and "0 a " in printed and "1 b " in printed and "seed" not in printed
    assert printed.count("a warning of the job") == 1
    assert "a routine line" not in printed and "its table" not in printed
    assert "1 of 2 jobs done" in printed and not (folder / PROGRESS).exists() and live._open == []
    assert handler.stream is stream and logging.getLogger().handlers == [handler]


def test_without_a_terminal_nothing_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = LiveSweep()
    sweep.on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    with job_progress(tmp_path) as run, drawn(run, draws=True):
        assert WATCHED not in os.environ
    sweep.on_multirun_end(OmegaConf.create())
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())
