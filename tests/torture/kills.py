"""SIGKILL and SIGTERM at random moments of a command: started again, it must end as one that nothing disturbed."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from torture.forks import Ended, forked
from torture.subjects import SUBJECTS, Subject
from torture.verdicts import Verdict

GRACE = 30.0
"""Seconds in which a command must end after SIGTERM."""


def kills(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Kill `count` attempts, a sixth of them with SIGTERM, shared out among the commands that are attacked."""
    whole, before = sum(subject.share for subject in SUBJECTS), 0
    for number, subject in enumerate(SUBJECTS):
        share = sum(one.share for one in SUBJECTS[: number + 1]) * count // whole
        if share > before:
            yield from _killed(subject, place / str(number), share - before, rng)
        before = share


def _killed(subject: Subject, place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Kill attempts at one command; one that came to its end is compared, and begun anew."""
    whole, seconds = subject.whole()
    done = number = 0
    while done < count:
        own, number, killed = subject.begin(place / str(number)), number + 1, list[str]()
        while True:
            sent = rng.choice([signal.SIGKILL] * 5 + [signal.SIGTERM])
            moment = rng.uniform(0.0, seconds) if done < count else None
            ended = forked(subject.run(own), own, moment, sent)
            if ended.status == 0:
                break
            done += 1
            attack = f"{subject.name}: {sent.name} after {moment or 0:.2f} s"
            if wrong := _wrong(ended, moment, sent):
                yield Verdict(attack, f"{subject.name} {wrong}", False, ended.told)
                break
            killed.append(attack)
        wrong = subject.difference(own, whole) if ended.status == 0 else ""
        outcome = "ended otherwise" if wrong else "as unbroken"
        for attack in killed:
            yield Verdict(attack, f"{subject.name} {outcome}", not wrong, wrong)


def _wrong(ended: Ended, moment: float | None, sent: signal.Signals) -> str:
    """Return what an attempt that did not come to its end did wrong; "" if it was only killed."""
    if ended.broken and ended.signal != sent:
        return ended.broken
    if moment is None or (ended.signal is None and sent == signal.SIGKILL):
        return "failed by itself"
    if sent == signal.SIGTERM and ended.seconds - moment > GRACE:
        return f"did not end within {GRACE:.0f} s of SIGTERM"
    return ""
