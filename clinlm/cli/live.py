"""The live view on a terminal: it draws a run or a sweep at the bottom, and lets lines pass above it."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live

from clinlm.cli.live_tables import JobLine, run_table, sweep_table
from clinlm.config.console import WATCHED, interactive
from clinlm.tracking.planned_jobs import PlannedJobs
from clinlm.tracking.run_progress import PROGRESS, RunProgress

log = logging.getLogger(__name__)

_SECONDS = 0.5
"""Between two drawings."""
_SHOWN_BY_THE_VIEW = ("clinlm.pipeline.execution", "clinlm.tracking.stage_bar")
"""Loggers of a run whose routine lines say what the view shows."""
_LAUNCHERS = ("hydra", "hydra_plugins")
"""Loggers of a sweep whose routine lines say what the view shows."""


class LiveView:
    """Draws `table` until it is closed; what is printed meanwhile stands above it.

    Args:
        table: returns what to draw on a console.
        busy: returns whether this process times a model, so that nothing is drawn now.
    """

    def __init__(self, table: Callable[[Console], RenderableType], busy: Callable[[], bool] = lambda: False) -> None:
        self._table, self._busy = table, busy
        # Standard output may be a file: then it stays one.
        self._live = Live(console=Console(stderr=True), auto_refresh=False, redirect_stdout=sys.stdout.isatty())
        self._ended, self._broken = threading.Event(), False
        self._thread = threading.Thread(target=self._draw_on, name="live view", daemon=True)

    def open(self) -> None:
        """Begin to draw."""
        os.environ[WATCHED] = str(os.getpid())
        before = {id(sys.stdout): "stdout", id(sys.stderr): "stderr"}
        self._live.start()
        for handler in console_handlers():  # those that are made later find the streams of the view
            if name := before.get(id(handler.stream)):
                handler.setStream(getattr(sys, name))
        self._thread.start()

    def close(self) -> None:
        """Draw for the last time, and leave that on the screen."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        self._draw()
        self._live.stop()
        for handler in console_handlers():
            if isinstance(handler.stream, FileProxy):
                handler.setStream(handler.stream.rich_proxied_file)
        os.environ.pop(WATCHED, None)

    def _draw(self) -> None:
        """Draw once; a view that fails says so and draws no more, for nothing that runs depends on it."""
        if self._broken:
            return
        try:
            self._live.update(self._table(self._live.console), refresh=True)
        except Exception as error:
            self._broken = True
            log.warning("the live view ended (%s: %s); the run goes on", type(error).__name__, error)

    def _draw_on(self) -> None:
        quiet = False
        while not self._ended.wait(_SECONDS):
            was_quiet, quiet = quiet, self._busy()
            if not (quiet and was_quiet):  # the first time, so that the screen says what happens now
                self._draw()


def console_handlers() -> list[logging.StreamHandler[Any]]:
    """Return the handlers of the root logger that write to a terminal, or where one would be."""
    found = [own for own in logging.getLogger().handlers if isinstance(own, logging.StreamHandler)]
    return [own for own in found if not isinstance(own, logging.FileHandler)]


@contextmanager
def drawn(run: RunProgress, draws: bool) -> Iterator[None]:
    """Draw the stages of a run on the terminal, if there is one and no sweep is watched.

    Args:
        draws: false where the bar of the trainer is switched off.
    """
    if not (draws and interactive()):
        yield
        return
    view = LiveView(lambda console: run_table(run, console.width))
    quieter = _Quieter()
    handlers = console_handlers()
    for handler in handlers:
        handler.addFilter(quieter)
    view.open()
    try:
        yield
    except BaseException:
        run.enter("ended")
        raise
    finally:
        view.close()
        for handler in handlers:
            handler.removeFilter(quieter)


class _Quieter(logging.Filter):
    """Lets pass what the view does not show: warnings, and lines of other parts."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING or record.name not in _SHOWN_BY_THE_VIEW


class _Notices(logging.Handler):
    """Hands warnings of a job to the view of its sweep, which may be in another process, and nothing else."""

    def __init__(self, run: RunProgress) -> None:
        super().__init__(logging.WARNING)
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        self._run.notices.append(self.format(record))
        self._run.changed(now=True)


_own: list[RunProgress] = []
"""The job of a watched sweep that runs in this process, if one does."""


@contextmanager
def job_progress(folder: Path) -> Iterator[RunProgress]:
    """Yield the progress of a run; of a job of a watched sweep it is kept in `folder`, and nothing is printed."""
    run = RunProgress()
    if WATCHED not in os.environ:
        yield run
        return
    run.path = folder / PROGRESS
    run.changed(now=True)
    root, consoles = logging.getLogger(), console_handlers()
    notices = _Notices(run)
    notices.setFormatter(consoles[0].formatter if consoles else None)
    for handler in consoles:
        root.removeHandler(handler)
    root.addHandler(notices)
    _own.append(run)
    try:
        yield run
    finally:
        _own.remove(run)
        run.enter("ended")
        root.removeHandler(notices)
        for handler in consoles:
            root.addHandler(handler)


_open: "list[LiveSweep]" = []
"""Sweeps that are drawn now: one at most."""


@final
class LiveSweep(Callback):
    """Draws the jobs of a sweep side by side, whatever process they run in: each keeps a small file in its folder."""

    def __init__(self) -> None:
        self._view: LiveView | None = None
        self._folder, self._began = Path(), time.time()
        self._ended: dict[int, JobLine] = {}
        self._told: dict[int, int] = {}
        self._levels: dict[str, int] = {}
        self._stopped = False

    def __reduce__(self) -> tuple[type["LiveSweep"], tuple[()]]:
        """Launchers hand Hydra's callbacks to the processes of jobs, where there is nothing to draw."""
        return LiveSweep, ()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the view, on a terminal (Hydra's hook)."""
        PlannedJobs.clear()
        if not (interactive() and OmegaConf.select(config, "trainer.enable_progress_bar", default=True)):
            return
        self._folder, self._began = Path(config.hydra.sweep.dir), time.time()
        for name in _LAUNCHERS:
            self._levels[name] = logging.getLogger(name).level
            logging.getLogger(name).setLevel(logging.WARNING)
        self._view = LiveView(self._table, lambda: any(run.phase == "comparing" for run in _own))
        self._view.open()
        _open.append(self)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close it (Hydra's hook)."""
        self.close()

    def close(self, stopped: bool = False) -> None:
        """Close the view, if it is open, and remove the files that jobs kept for it.

        Args:
            stopped: whether jobs that run have been stopped.
        """
        if self._view is None:
            return
        self._stopped = stopped
        self._view.close()
        self._view = None
        _open.remove(self)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        for path in self._folder.glob(f"*/{PROGRESS}"):
            with suppress(OSError):
                path.unlink()

    def _table(self, console: Console) -> RenderableType:
        settings, told = PlannedJobs.distinct()
        jobs = {number: self._job(number, words) for number, words in sorted(told.items())}
        for number, job in jobs.items():
            notices = job.run.notices if job.run is not None else []
            for notice in notices[self._told.get(number, 0) :]:
                console.print(notice, markup=False, highlight=False, soft_wrap=True)
            self._told[number] = len(notices)
        return sweep_table(jobs, self._began, PlannedJobs.total, console.width, console.height, settings)

    def _job(self, number: int, words: str) -> JobLine:
        if number in self._ended:
            return self._ended[number]
        folder = next((path for name in (f"{number}", f"{number}-*") for path in self._folder.glob(name)), None)
        if folder is None:
            return JobLine(words, None, "waiting")
        run = RunProgress.read(folder / PROGRESS)
        if run is None or run.phase != "ended":
            return JobLine(words, run, "stopped" if self._stopped else "running")
        whole = (folder / "run.json").is_file()
        self._ended[number] = JobLine(words, run, "done" if whole else "pruned" if run.pruned else "failed")
        return self._ended[number]


def close_views() -> None:
    """Close the view of a sweep that ended before its time."""
    for sweep in [*_open]:
        sweep.close(stopped=True)
