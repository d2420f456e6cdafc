"""Run `clinlm` in a fork of this process, which has imported everything, and kill it at a random moment if asked to.

Nothing computes in the parent, so that a fork has no threads to miss. A fork begins within milliseconds where a process
of its own takes seconds, which makes hundreds of attacks a matter of minutes.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import clinlm.pipeline.stage
from clinlm.cli.main import main

HUNG = 600.0
"""Seconds after which a fork counts as hanging."""


class Ended(NamedTuple):
    """How a fork ended.

    Attributes:
        status: its exit status; None if a signal ended it.
        signal: that ended it; None if none did.
        told: what it printed, on standard output and error.
        seconds: from the fork on.
    """

    status: int | None
    signal: int | None
    told: str
    seconds: float

    @property
    def broken(self) -> str:
        """What must never happen: a traceback, a death of its own, a hanging process; "" if it did not."""
        if "Traceback (most recent call last)" in self.told or "panicked at" in self.told:
            return "traceback"
        return "" if self.signal in (None, signal.SIGKILL) else f"died of signal {self.signal}"


class Begun(NamedTuple):
    """A fork that runs: its number, its folder, and when it began."""

    number: int
    folder: Path
    began: float

    def send(self, sent: int) -> None:
        """Send a signal."""
        os.kill(self.number, sent)


def begun(run: Callable[[], object], folder: Path) -> Begun:
    """Call `run` in a fork with `folder` as its working directory; the file `told` in it gets what is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "told").touch()  # for a fork that is killed before it prints
    began, number = time.monotonic(), os.fork()
    if not number:
        os._exit(_child(run, folder))
    return Begun(number, folder, began)


def ended(fork: Begun, moment: float | None = None, sent: int = signal.SIGKILL, most: float = HUNG) -> Ended:
    """Wait for a fork.

    Args:
        moment: seconds after its begin at which `sent` is sent; None for never.
        most: seconds after which it counts as hanging.
    """
    waited = moment
    while True:
        seconds = time.monotonic() - fork.began
        if waited is not None and seconds >= waited:
            fork.send(sent)
            waited = None
        if seconds > most:
            fork.send(signal.SIGKILL)
        done, status = os.waitpid(fork.number, os.WNOHANG)
        if done:
            break
        time.sleep(0.002)
    told = (fork.folder / "told").read_text(encoding="utf-8", errors="replace")
    died = signal.SIGXCPU if seconds > most else os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return Ended(os.waitstatus_to_exitcode(status) if died is None else None, died, told, seconds)


def forked(run: Callable[[], object], folder: Path, moment: float | None = None, sent: int = signal.SIGKILL) -> Ended:
    """Call `run` in a fork and wait for its end: see `begun` and `ended`."""
    return ended(begun(run, folder), moment, sent)


def _child(run: Callable[[], object], folder: Path) -> int:
    status = 70
    try:
        os.chdir(folder)
        out = os.open("told", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(out), "w", encoding="utf-8", buffering=1) for _ in "12")
        # To measure the memory of a stage takes a process with torch of its own, and no attack needs it.
        clinlm.pipeline.stage.measure_peak_mib = lambda *_: 1.0
        run()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):  # of a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    return status


def clinlm_run(*arguments: object) -> Callable[[], None]:
    """Return what runs `clinlm` with these arguments."""

    def run() -> None:
        sys.argv = ["clinlm", *map(str, arguments)]
        main()

    return run
