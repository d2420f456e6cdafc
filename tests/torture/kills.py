"""SIGKILL and SIGTERM at random moments of a pipeline: started again, it must end as one that nothing disturbed."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from torture.forks import Ended, forked
from torture.runs import difference, pipeline, unbroken
from torture.verdicts import Verdict

GRACE = 30.0
"""Seconds in which a run must end after SIGTERM."""


def kills(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Kill `count` attempts, a sixth of them with SIGTERM; a run that came to its end is compared, and begun anew."""
    whole, seconds = unbroken()
    done = number = 0
    while done < count:
        own, number, killed = place / f"killed{number}", number + 1, list[str]()
        while True:
            sent = rng.choice([signal.SIGKILL] * 5 + [signal.SIGTERM])
            moment = rng.uniform(0.0, seconds) if done < count else None
            ended = forked(pipeline(own), own, moment, sent)
            if ended.status == 0:
                break
            done += 1
            attack = f"{sent.name} after {moment or 0:.2f} s"
            if wrong := _wrong(ended, moment, sent):
                yield Verdict(attack, wrong, False, ended.told)
                break
            killed.append(attack)
        wrong = difference(own, whole) if ended.status == 0 else ""
        for attack in killed:
            yield Verdict(attack, "ended otherwise" if wrong else "byte for byte as unbroken", not wrong, wrong)


def _wrong(ended: Ended, moment: float | None, sent: signal.Signals) -> str:
    """Return what an attempt that did not come to its end did wrong; "" if it was only killed."""
    if ended.broken and ended.signal != sent:
        return ended.broken
    if moment is None or (ended.signal is None and sent == signal.SIGKILL):
        return "failed by itself"
    if sent == signal.SIGTERM and ended.seconds - moment > GRACE:
        return f"did not end within {GRACE:.0f} s of SIGTERM"
    return ""
