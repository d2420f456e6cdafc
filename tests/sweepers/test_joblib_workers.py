"""Worker processes of joblib: one pool for all threads, and none that outlives its sweep."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinlm.sweepers import joblib_workers
from clinlm.sweepers.joblib_workers import share_pool

joblib = pytest.importorskip("joblib", reason="it comes with scikit-learn")


def test_threads_that_ask_at_once_get_a_pool_that_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is made slowly: without the lock the second thread gets it before its folder is set."""
    executor, backends = joblib.executor, joblib._parallel_backends
    monkeypatch.setattr(backends, "get_memmapping_executor", executor.get_memmapping_executor)
    make = executor._ReusablePoolExecutor.get_reusable_executor.__func__

    def slow(kind: Any, /, *arguments: Any, **settings: Any) -> Any:
        made = make(kind, *arguments, **settings)
        time.sleep(0.3)
        return made

    monkeypatch.setattr(executor._ReusablePoolExecutor, "get_reusable_executor", classmethod(slow))
    share_pool()
    share_pool()
    told: list[object] = []

    def ask() -> None:
        try:
            told.extend(joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(abs)(number) for number in (-1, -2)))
        except AttributeError as error:
            told.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, told)) == ["1", "1", "1", "2", "2", "2"]


SWEEP = """
import os, sys, time
from joblib import Parallel, delayed
from clinlm.sweepers.joblib_workers import end_with_sweep

def job(number):
    end_with_sweep()
    with open(f"{sys.argv[1]}/{number}", "w") as file:
        file.write(str(os.getpid()))
    if number:
        time.sleep(600)
    time.sleep(1)
    return "x" * 10_000_000  # more than a pipe takes that nobody reads

if __name__ == "__main__":
    Parallel(n_jobs=2, backend="loky")(delayed(job)(number) for number in range(2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_sweep_that_was_killed(tmp_path: Path) -> None:
    """One is in a job, the other wants to tell a result that nobody reads."""
    script = tmp_path / "sweep.py"
    script.write_text(textwrap.dedent(SWEEP), encoding="utf-8")
    root = str(Path(joblib_workers.__file__).parents[2])
    sweep = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=os.environ | {"PYTHONPATH": root})
    numbers = [tmp_path / "0", tmp_path / "1"]
    _wait(lambda: all(path.is_file() and path.read_text() for path in numbers), "both jobs must begin")
    workers = [int(path.read_text()) for path in numbers]
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    _wait(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "no worker may stay")


def _wait(reached: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until, what
        time.sleep(0.1)
