"""Processes that answer notes, each with models of its own: they share nothing, so that every core counts in full."""

import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import ClassVar, final

from clinlm.config.errors import ModelError
from clinlm.predict.note_models import NoteAnswers, NoteModels

Opening = tuple[Path, Path | None, int, float | None]
"""The arguments of `NoteModels`."""


@final
class NoteWorkers:
    """Worker processes, started when they are first needed.

    Python runs one thread at a time, and most of the time of a small model goes to reading words.

    Args:
        count: how many.
        opening: the models that each of them opens.
    """

    def __init__(self, count: int, opening: Opening) -> None:
        # Not forked: the reader and the engines have threads, which a fork would leave locked.
        self._pool = ProcessPoolExecutor(count, get_context("spawn"), _open, (opening,))

    def submit(self, texts: Sequence[str]) -> "Future[NoteAnswers]":
        """Give texts, none of which is refused, to the next idle worker."""
        return self._pool.submit(_answer, texts)

    def close(self) -> None:
        """Stop the workers, whatever they still have to do."""
        self._pool.shutdown(cancel_futures=True)


def waited(future: "Future[NoteAnswers]") -> NoteAnswers:
    """Return the answers of a worker.

    Raises:
        ModelError: it has ended.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise ModelError(
            "worker processes must run until the end, got one that was stopped, perhaps for lack of memory; run the "
            "same command again, it continues; with threads=1 there are none"
        ) from None


class _Worker:
    models: ClassVar[NoteModels]


def _open(opening: Opening) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Worker.models = NoteModels(*opening)


def _end_with_parent() -> None:
    """End this process with the one that started it, which may be killed: the pool would wait for tasks forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(texts: Sequence[str]) -> NoteAnswers:
    return _Worker.models.answer(texts)
