"""What joblib's worker processes lack: a pool that several threads may ask for, and an end with their sweep."""

import os
import signal
import threading
import time
from functools import wraps
from multiprocessing import parent_process
from typing import Any, Final

from clinlm.config.extras import imported

_LOOK_S: Final = 1.0
GRACE_S: Final = 60.0
"""Seconds in which a job that trains may write its checkpoint, once its sweep is gone."""

_pool_lock = threading.Lock()


def share_pool() -> None:
    """Let one thread after the other ask joblib for its pool of processes.

    A thread that asks while another makes the pool gets one that is not finished, and its job fails with an
    AttributeError (joblib 1.6, issue 1794): a trial of a study would count as failed.
    """
    backends = imported("joblib", "joblib")._parallel_backends
    make = backends.get_memmapping_executor
    if hasattr(make, "__wrapped__"):
        return

    @wraps(make)
    def one_after_another(*arguments: Any, **settings: Any) -> Any:
        with _pool_lock:
            return make(*arguments, **settings)

    backends.get_memmapping_executor = one_after_another


def end_with_sweep() -> None:
    """End this process, if a sweep started it as a worker, once the process of the sweep is gone.

    A sweep may be killed, by hand or for lack of memory. Its workers would finish their jobs and then wait for ever to
    tell it, with all that they hold in memory. They are ended by SIGTERM, so that a stage writes its checkpoint first.
    """
    sweep = parent_process()
    if sweep is not None and sweep.pid is not None and _Watch.sweep != sweep.pid:
        _Watch.sweep = sweep.pid
        threading.Thread(target=_end_after, args=(sweep.pid,), daemon=True, name="end with sweep").start()


class _Watch:
    """The process whose end this one waits for: a worker has several jobs."""

    sweep: int | None = None


def _end_after(sweep: int) -> None:
    while os.getppid() == sweep:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)
