"""A clock that is set back an hour during a run, which may then be killed, and go on with the right clock."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torture.forks import forked
from torture.runs import difference, pipeline, unbroken
from torture.verdicts import Verdict

BACK_S = 3600.0


def set_back(run: Callable[[], None], moment: float) -> Callable[[], None]:
    """Return what calls `run` with a clock that is set back `moment` seconds later."""

    def with_clock() -> None:
        began, right, right_ns = time.monotonic(), time.time, time.time_ns

        def now() -> float:
            return right() - BACK_S * (time.monotonic() - began > moment)

        def now_ns() -> int:
            return right_ns() - int(BACK_S * 1e9) * (time.monotonic() - began > moment)

        clock: Any = time
        clock.time, clock.time_ns = now, now_ns
        run()

    return with_clock


def clocks(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Set the clock of `count` runs back; every other run is killed afterwards, and typed again."""
    whole, seconds = unbroken()
    for number in range(count):
        own, moment = place / str(number), rng.uniform(0.0, seconds)
        killed = rng.uniform(moment, seconds) if number % 2 else None
        ended = forked(set_back(pipeline(own), moment), own, killed)
        attack = f"set back after {moment:.2f} s" + ("" if killed is None else f", killed after {killed:.2f} s")
        if ended.signal is not None and killed is not None:
            ended = forked(pipeline(own), own)
        if ended.broken or ended.status != 0:
            yield Verdict(attack, ended.broken or "the run failed", False, ended.told)
            continue
        wrong = difference(own, whole)
        yield Verdict(attack, "ended otherwise" if wrong else "byte for byte as with the right clock", not wrong, wrong)
