"""The jobs of a sweep, repeated on several splits."""

from collections.abc import Sequence
from typing import TypeAlias

Job: TypeAlias = Sequence[str]
"""The overrides of a job."""
_SPLIT = ("task.seed=", "+task.seed=", "++task.seed=")


def split_jobs(jobs: Sequence[Job], count: int, first: int) -> list[Job]:
    """Return the jobs on the splits `first`, `first` + 1, …, split by split: an early end leaves whole splits.

    Args:
        jobs: without equal ones.
        count: splits, >= 1; of one, jobs stay as they are.
        first: `task.seed` of the first.
    """
    if count == 1:
        return list(jobs)
    kept = [[override for override in job if not override.startswith(_SPLIT)] for job in jobs]
    return [[*job, f"task.seed={first + number}"] for number in range(count) for job in kept]
