"""The same command in two folders, on one thread and on two: the same bytes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from torture.forks import forked
from torture.runs import difference, pipeline
from torture.verdicts import Verdict


def _threads(run: Callable[[], None], number: int) -> Callable[[], None]:
    def with_threads() -> None:
        torch.set_num_threads(number)
        run()

    return with_threads


def determinism(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Run the pipeline `count` times more than once, on one and two threads in turn, and compare each with the first."""
    whole = place / "whole"
    first = forked(_threads(pipeline(whole), 1), whole)
    for number in range(count):
        own, threads = place / str(number), 1 + number % 2
        ended = forked(_threads(pipeline(own), threads), own)
        attack = f"{threads} thread" + "s" * (threads - 1)
        if first.status or ended.status:
            yield Verdict(attack, "failed", False, first.told if first.status else ended.told)
        else:
            wrong = difference(own, whole)
            yield Verdict(attack, f"the same bytes on {attack}" if not wrong else "other bytes", not wrong, wrong)
