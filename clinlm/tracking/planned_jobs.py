"""The jobs that a sweeper has planned, for whoever shows how far they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final


@final
class PlannedJobs:
    """The jobs of the sweep of this process; a process runs one sweep at a time.

    Attributes:
        folder: of the sweep; None before there is one.
        jobs: number -> overrides.
        total: jobs that the sweep will have; a study asks for them one after the other.
        built: of the job that this process runs, names of folders of stages that were built for it before it began.
    """

    folder: ClassVar[Path | None] = None
    jobs: ClassVar[dict[int, tuple[str, ...]]] = {}
    total: ClassVar[int] = 0
    built: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def clear(cls) -> None:
        """Forget the jobs of an earlier sweep."""
        cls.folder, cls.jobs, cls.total = None, {}, 0

    @classmethod
    def add(cls, jobs: Sequence[Sequence[str]], first: int, total: int | None = None) -> None:
        """Add jobs, numbered from `first` on."""
        cls.jobs |= {first + offset: tuple(map(str, job)) for offset, job in enumerate(jobs)}
        cls.total = max(len(cls.jobs), total or 0)

    @classmethod
    def distinct(cls) -> tuple[str, dict[int, str]]:
        """Return what differs between jobs: names of settings and, by number, their values.

        Where jobs set different settings, there are no names, and the values are the overrides themselves.
        """
        jobs = {**cls.jobs}
        common = set.intersection(*({*job} for job in jobs.values())) if len(jobs) > 1 else set()
        own = {number: [word for word in job if word not in common] for number, job in jobs.items()}
        names = {" ".join(word.partition("=")[0] for word in words) for words in own.values()}
        if len(names) != 1 or not all("=" in word for words in own.values() for word in words):
            return "", {number: " ".join(words) for number, words in own.items()}
        values = {number: " ".join(word.partition("=")[2] for word in words) for number, words in own.items()}
        return names.pop(), values
