"""The same command twice in two folders, on one thread and on two: the same bytes.

One thread and two are not compared with each other: sums of floats in another order are other sums.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from torture.forks import forked
from torture.runs import difference, pipeline
from torture.verdicts import Verdict


def _on(threads: int, run: Callable[[], None]) -> Callable[[], None]:
    def with_threads() -> None:
        torch.set_num_threads(threads)
        run()

    return with_threads


def determinism(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Run the pipeline twice, `count` times, on one and two threads in turn, and compare both."""
    for number in range(count):
        threads = 1 + number % 2
        both = [place / f"{number}{name}" for name in "ab"]
        ended = [forked(_on(threads, pipeline(own)), own) for own in both]
        attack = "1 thread" if threads == 1 else f"{threads} threads"
        if failed := [one.told for one in ended if one.status != 0]:
            yield Verdict(attack, "failed", False, failed[0])
        else:
            wrong = difference(*both)
            yield Verdict(attack, "other bytes" if wrong else f"the same bytes on {attack}", not wrong, wrong)
