"""Order of the requests of a run: earlier notes first, as far as the budget reaches; and the threads that send them."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar, final

from clinlm.labelers.base import LabelingStopped
from clinlm.labelers.llm_budget import Budget
from clinlm.labelers.llm_prices import Usage

T = TypeVar("T")

_JOIN_S = 1.0
"""How long an interrupted run waits for its requests; threads that need longer are daemons and end by themselves."""


class RunEndedError(Exception):
    """The run has ended: the request is not sent."""


@final
class Scheduler:
    """Admits requests in the order of their notes, and ends the run.

    Since earlier notes go first, the notes that something was spent on when a run ends are the first ones too, so that
    a resumed run needs to know only how many they are.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._waiting: set[int] = set()
        self._active = 0
        self._opens_at = 0.0
        self._changed, self._over = threading.Condition(), threading.Event()
        self.ending: Exception | None = None
        """Why the run ends before its last note; None while it goes on."""

    def acquire(self, note: int, worst: Usage) -> None:
        """Wait until a request may be sent, and reserve its worst-case usage. `release` must follow.

        Args:
            note: number of the note; a note never has two requests at once.
            worst: maximum usage of the request.

        Raises:
            RunEndedError: the run has ended, or ends with this request because the budget does not cover it.
        """
        with self._changed:
            self._waiting.add(note)
            try:
                while not self._admitted(note, worst):
                    held_s = self._opens_at - time.monotonic()
                    self._changed.wait(held_s if held_s > 0 else None)
            finally:
                self._waiting.discard(note)
                self._changed.notify_all()

    def release(self, worst: Usage, used: Usage | None) -> None:
        """Settle the usage of a finished request; None where it is unknown."""
        with self._changed:
            self._active -= 1
            self._budget.settle(worst, used)
            self._changed.notify_all()

    def end(self, reason: Exception) -> None:
        """Send no further request. Those under way are completed."""
        with self._changed:
            self.ending = self.ending or reason
            self._over.set()
            self._changed.notify_all()

    def hold(self, seconds: float) -> None:
        """Send nothing for some time, as the server requested."""
        self._opens_at = max(self._opens_at, time.monotonic() + seconds)

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than the run.

        Raises:
            RunEndedError: the run has ended.
        """
        if self._over.wait(seconds):
            raise RunEndedError

    def _admitted(self, note: int, worst: Usage) -> bool:
        """Return whether a request may be sent now; if so, its usage is reserved."""
        if self.ending is not None:
            raise RunEndedError
        if self._opens_at > time.monotonic() or min(self._waiting) != note:
            return False
        if self._budget.reserve(worst):
            self._active += 1
            return True
        if self._active:
            return False  # what the active requests use is less than what they reserve
        self.end(LabelingStopped(self._budget.explain(worst)))
        raise RunEndedError


@final
class Workers:
    """A pool of daemon threads that run calls in the order of submission.

    `ThreadPoolExecutor` would let an interrupted program wait for its requests until they time out.
    """

    def __init__(self, count: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name="clinlm-llm", daemon=True) for _ in range(count)]

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Return the future result of a call."""
        future = Future[T]()
        self._calls.put((future, call))
        return future

    def _work(self) -> None:
        while (task := self._calls.get()) is not None:
            future, call = task
            try:
                future.set_result(call())
            except BaseException as error:  # re-raised by Future.result in the thread that reads it
                future.set_exception(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for _ in self._threads:
            self._calls.put(None)
        deadline = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


@final
class TimeShares:
    """Splits wall-clock time among concurrent activities: each of n gets an n-th, and all shares add up to the time."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._last = now, now()
        self._active, self._each_s = 0, 0.0
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[Callable[[], float]]:
        """Yield a function that returns the share so far, in seconds; the activity lasts until the exit."""
        with self._lock:
            began_s = self._tick()
            self._active += 1
        try:
            yield lambda: self._share_s(began_s)
        finally:
            with self._lock:
                self._tick()
                self._active -= 1

    def _share_s(self, began_s: float) -> float:
        with self._lock:
            return self._tick() - began_s

    def _tick(self) -> float:
        """Return the share of an activity that lasted all the time."""
        now = self._now()
        if self._active:
            self._each_s += (now - self._last) / self._active
        self._last = now
        return self._each_s
