"""What every transfer promises: texts without labels, none of them a training document or one to be measured on."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

import numpy as np
from rich.progress import Progress

from clinlm.config.console import interactive
from clinlm.corpora.split import SPLITS
from clinlm.tasks.base import Task

log = logging.getLogger(__name__)


class Augmentation(ABC):
    """A source of texts without labels that resemble the training documents. Subclasses are final, one per file.

    Of a task they read the training documents only.
    """

    @abstractmethod
    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """Yield texts one by one, the same from the same settings, task and seed; some may repeat others.

        Args:
            task: opened.
            seed: of everything random.
        """

    def fingerprint(self) -> str:
        """Return what decides the texts beyond settings, task, seed and code: a digest of files, or a name."""
        return ""

    @final
    def texts(self, task: Task, seed: int) -> list[str]:
        """Return the drafts that are new: see `new`. What was left out is counted in the log.

        Raises:
            ValueError: none is left.
        """
        left_out: Counter[str] = Counter()
        found = []
        with Progress(transient=True, disable=not interactive()) as progress:
            bar = progress.add_task("writing the transfer set", total=None)
            for text in new(self.drafts(task, seed), task, left_out):
                found.append(text)
                progress.update(bar, advance=1, description=f"writing the transfer set: {len(found):,} texts")
        if not found:
            raise ValueError(
                f"a transfer set has texts; {type(self).__name__} made none that is new ({_told(left_out)}); choose "
                "another transfer, or augmentation=none"
            )
        log.info("transfer set of %d texts; left out: %s", len(found), _told(left_out))
        return found


def new(drafts: Iterable[str], task: Task, left_out: Counter[str]) -> Iterator[str]:
    """Yield the drafts that are neither empty nor, but for case and white space, a document or an earlier draft.

    Args:
        drafts: texts.
        task: opened; its validation and test texts are compared with, so that no draft is one of them.
        left_out: counts, by reason, what is not yielded.
    """
    seen = {split: {normalised(text) for text in task.texts(split)} for split in SPLITS}
    made: set[str] = set()
    for text in drafts:
        form = normalised(text)
        known = next((split for split in SPLITS if form in seen[split]), None)
        if not form:
            left_out["empty"] += 1
        elif known is not None:
            left_out[f"in {known}"] += 1
        elif form in made:
            left_out["repeated"] += 1
        else:
            made.add(form)
            yield text


def normalised(text: str) -> str:
    """Return `text` in lower case, with single spaces: texts that differ in these only are the same."""
    return " ".join(text.lower().split())


def shuffled(notes: Sequence[Sequence[str]], times: int, seed: int, between: str) -> Iterator[str]:
    """Yield every note `times` times, its pieces in random order.

    Args:
        notes: the pieces of every note.
        times: orders of each; the same may come again.
        seed: of the orders.
        between: what stands between two pieces.
    """
    rng = np.random.default_rng(seed)
    for _ in range(times):
        for note in notes:
            yield between.join(note[place] for place in rng.permutation(len(note)))


def check_times(times: int) -> None:
    """Raise ValueError unless there is to be at least one text a training document."""
    if times < 1:
        raise ValueError(
            f"augmentation.times is at least 1 text a training document; got {times}; or set augmentation=none"
        )


def _told(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items())) or "none"
