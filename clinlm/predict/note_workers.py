"""Processes that answer notes, each with models of its own: they share nothing, so that every core counts in full."""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import ClassVar, final

from clinlm.config.class_paths import foreign_modules
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
        self._pool = ProcessPoolExecutor(count, get_context("spawn"), _open, (opening, foreign_modules()))

    @staticmethod
    def can_start() -> bool:
        """Return whether a worker can be started: it reads the script of this process, unless that came by a pipe."""
        script = getattr(sys.modules["__main__"], "__file__", None)
        return script is None or Path(script).is_file()

    def submit(self, texts: Sequence[str]) -> "Future[NoteAnswers]":
        """Give texts, none of which is refused, to the next idle worker.

        Raises:
            ModelError: one has ended.
        """
        try:
            return self._pool.submit(_answer, texts)
        except BrokenProcessPool:
            raise _ended() from None

    def close(self) -> None:
        """Stop the workers, whatever they still have to do."""
        self._pool.shutdown(cancel_futures=True)


def waited(future: "Future[NoteAnswers]") -> NoteAnswers:
    """Return the answers of a worker.

    Raises:
        ModelError: it has ended. What its models raise is raised here, too.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise _ended() from None


def _ended() -> ModelError:
    return ModelError(
        "worker processes must run until the end, got one that was stopped, perhaps for lack of memory; run the same "
        "command again, it continues; with threads=1 there are none (a script of yours that answers notes needs "
        "if __name__ == '__main__')"
    )


class _Worker:
    models: ClassVar[NoteModels]
    failed: ClassVar[Exception | None] = None


def _open(opening: Opening, modules: Sequence[str]) -> None:
    """Open the models of this process; what that raises waits for the first texts, as a pool keeps it to itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for module in modules:
            importlib.import_module(module)
        _Worker.models = NoteModels(*opening)
    except Exception as error:
        _Worker.failed = error


def _end_with_parent() -> None:
    """End this process with the one that started it, which may be killed: the pool would wait for tasks forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(texts: Sequence[str]) -> NoteAnswers:
    if _Worker.failed is not None:
        raise _Worker.failed
    return _Worker.models.answer(texts)
