"""The TF-IDF baselines, whole or with INT8 weights, served from their folders in the store."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import final

import numpy as np

from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.int8_baseline import Int8Baseline, holds_int8_baseline
from clinlm.metrics.term_model import CARD, linked_logits
from clinlm.predict.answer_head import TokenizedNotes
from clinlm.predict.model_runner import PendingPredictions, Runner, open_head
from clinlm.predict.note_answer import notes_as_rows
from clinlm.store.content import sealed, verify
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.contexts import contexts

_NOTES = 64
"""Notes weighted at once."""


def holds_tfidf(folder: Path) -> bool:
    """Return whether a folder holds a TF-IDF baseline, whole or with INT8 weights, and not a network."""
    return (folder / CARD).is_file()


@final
class TfidfRunner(Runner):
    """Predicts notes with TF-IDF and logistic regression. A note is one row, and a word of a tagger is one token of it.

    Raises:
        Damaged: a file has changed.
    """

    def __init__(self, folder: Path, pool: Executor, coverage: float | None = None) -> None:
        if sealed(folder):  # a copy may lack the record
            verify(folder)
        config = InferenceConfig.load(folder)
        self.head, self._kind, self._pool = open_head(config, coverage), config.kind, pool
        self._baseline: TfidfBaseline | Int8Baseline
        self._baseline = (Int8Baseline if holds_int8_baseline(folder) else TfidfBaseline).load(folder)

    def begin(self, texts: Sequence[str]) -> PendingPredictions:
        notes = notes_as_rows(texts, self.head.by_word)
        slices = [range(start, min(start + _NOTES, len(texts))) for start in range(0, len(texts), _NOTES)]
        return PendingPredictions(
            self.head, [self._pool.submit(self._predict, texts, notes, places) for places in slices], notes
        )

    def _predict(
        self, texts: Sequence[str], notes: TokenizedNotes, places: range
    ) -> tuple[list[int], Iterable[np.ndarray]]:
        """Return the places of some notes, and the logits of each: of the note, or of its words."""
        if not self.head.by_word:
            return list(places), linked_logits(self._baseline, [texts[place] for place in places], self._kind)
        passages = [passage for place in places for passage in contexts(texts[place], notes.words[place])]
        found = linked_logits(self._baseline, passages, self._kind)
        return list(places), np.split(found, np.cumsum([notes.lengths[place] for place in places])[:-1])
