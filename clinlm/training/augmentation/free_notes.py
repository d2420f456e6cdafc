"""The notes of a corpus that a model may learn from without its being measured on them."""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
import polars as pl

from clinlm.corpora.base import Corpus
from clinlm.tasks.base import Task
from clinlm.training.augmentation.base import new

log = logging.getLogger(__name__)


def free_notes(corpus: Corpus, task: Task, seed: int, documents: int | None) -> Iterator[str]:
    """Yield notes in random order: those of no group, and with no text, of validation or test, nor of training.

    Args:
        corpus: read whole.
        task: opened. Groups count by their names: where another corpus has the same name for another patient, the notes
            of that one are left out as well.
        seed: of the order.
        documents: at most so many; None for all.
    """
    notes, chosen = corpus.records().frame.select("group", "text"), task.examples.frame
    held_out = chosen.filter(pl.col("split") != "train")["group"].unique()
    free = notes.filter(~pl.col("group").is_in(held_out.implode()))["text"]
    log.info("%d of %d notes share a group with validation or test: left out", len(notes) - len(free), len(notes))
    order = np.random.default_rng(seed).permutation(len(free))
    yield from islice(new((free[int(place)] for place in order), task, Counter()), documents)


def check_documents(documents: int | None) -> None:
    """Raise ValueError unless there is to be a note."""
    if documents is not None and documents < 1:
        raise ValueError(f"augmentation.documents is at least 1, or null for all; got {documents}")
