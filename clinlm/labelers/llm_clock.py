"""Time that several share, shared out."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import final


@final
class Clock:
    """Shares out the time in which something is under way: of n at once each gets an n-th, and all together get all."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._last = now, now()
        self._active, self._each_s = 0, 0.0

    @contextmanager
    def running(self) -> Iterator[Callable[[], float]]:
        """Yield a function that returns this one's share so far, in seconds; it counts as under way until the exit."""
        began_s = self._tick()
        self._active += 1
        try:
            yield lambda: self._tick() - began_s
        finally:
            self._tick()
            self._active -= 1

    def _tick(self) -> float:
        """What one that was under way all the time would have got."""
        now = self._now()
        if self._active:
            self._each_s += (now - self._last) / self._active
        self._last = now
        return self._each_s
