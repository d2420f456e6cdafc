"""Interface of augmentation: texts without labels, none of them a document of the task's splits."""

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import final

import numpy as np
import polars as pl
from rich.progress import Progress

from clinlm.config.console import interactive
from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import Corpus
from clinlm.corpora.split import SPLITS
from clinlm.tasks.base import Task

log = logging.getLogger(__name__)


class Augmentation(ABC):
    """A source of texts without labels that resemble the training documents. Subclasses are final, one per file.

    They read the training documents of a task only.
    """

    @abstractmethod
    def drafts(self, task: Task, seed: int) -> Iterator[str]:
        """Yield texts, which depend on settings, task and seed only; some may repeat others."""

    def fingerprint(self) -> str:
        """Return what else the texts depend on, besides settings, task, seed and code: a digest of files, or a name."""
        return ""

    @property
    def released(self) -> bool:
        """Whether what is learnt from the texts may be passed on, as far as other notes than the task's decide it."""
        return True

    @final
    def texts(self, task: Task, seed: int) -> list[str]:
        """Return the drafts that are new, see `new`; log how many are left out.

        Raises:
            DataError: none is left.
        """
        left_out: Counter[str] = Counter()
        found = []
        with Progress(transient=True, disable=not interactive()) as progress:
            bar = progress.add_task("writing the transfer set", total=None)
            for text in new(self.drafts(task, seed), task, left_out):
                found.append(text)
                progress.update(bar, advance=1, description=f"writing the transfer set: {len(found):,} texts")
        if not found:
            raise DataError(
                f"a transfer set must have texts, got no new one from {type(self).__name__} ({_listed(left_out)}); "
                "choose another augmentation, or augmentation=none"
            )
        log.info("transfer set of %d texts; left out: %s", len(found), _listed(left_out))
        return found


def new(drafts: Iterable[str], task: Task, left_out: Counter[str]) -> Iterator[str]:
    """Yield the drafts that are neither empty nor equal to a document or an earlier draft (case and spaces aside).

    Args:
        task: opened; no draft equals one of its texts, of any split.
        left_out: counts the drafts that are not yielded, by reason.
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
    """Return `text` in lower case, with single spaces: the form in which texts are compared."""
    return " ".join(text.lower().split())


def shuffled(notes: Sequence[Sequence[str]], times: int, seed: int, between: str) -> Iterator[str]:
    """Yield every note `times` times, its pieces in random order.

    Args:
        notes: the pieces of every note.
        times: orders of each, possibly equal.
    """
    rng = np.random.default_rng(seed)
    for _ in range(times):
        for note in notes:
            yield between.join(note[place] for place in rng.permutation(len(note)))


def free_notes(corpus: Corpus, task: Task, seed: int, documents: int | None) -> Iterator[str]:
    """Yield notes in random order, except those of a group or with a text of validation or test, and training texts.

    Args:
        corpus: read whole.
        task: opened. Groups are compared by name: where another corpus uses a name for another patient, the notes of
            that one are left out, too.
        documents: the most to yield; None for all.
    """
    notes, chosen = corpus.records().frame.select("group", "text"), task.examples.frame
    held_out = chosen.filter(pl.col("split") != "train")["group"].unique()
    free = notes.filter(~pl.col("group").is_in(held_out.implode()))["text"]
    log.info("%d of %d notes share a group with validation or test: left out", len(notes) - len(free), len(notes))
    order = np.random.default_rng(seed).permutation(len(free))
    yield from islice(new((free[int(place)] for place in order), task, Counter()), documents)


def check_times(times: int) -> None:
    """Raise ConfigError unless `times`, texts a training document, is at least 1."""
    if times < 1:
        raise ConfigError(f"augmentation.times must be at least 1, got {times}; augmentation=none makes no texts")


def check_documents(documents: int | None) -> None:
    """Raise ConfigError unless `documents` is at least 1, or None for all."""
    if documents is not None and documents < 1:
        raise ConfigError(f"augmentation.documents must be at least 1, or null for all, got {documents}")


def _listed(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(left_out.items())) or "none"
