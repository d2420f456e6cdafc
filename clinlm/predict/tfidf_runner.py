"""The TF-IDF baselines, whole or with INT8 weights, served from their folders in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.int8_baseline import Int8Baseline, holds_int8_baseline
from clinlm.metrics.term_model import CARD, linked_logits
from clinlm.predict.model_runner import Runner, open_head
from clinlm.predict.note_answer import notes_as_rows
from clinlm.predict.predictions import Predictions
from clinlm.store.content import sealed, verify
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.contexts import contexts


def holds_tfidf(folder: Path) -> bool:
    """Return whether a folder holds a TF-IDF baseline, whole or with INT8 weights, and not a network."""
    return (folder / CARD).is_file()


@final
class TfidfRunner(Runner):
    """Predicts notes with TF-IDF and logistic regression. A note is one row, and a word of a tagger is one token of it.

    Raises:
        Damaged: a file has changed.
    """

    def __init__(self, folder: Path, coverage: float | None = None) -> None:
        if sealed(folder):  # a copy may lack the record
            verify(folder)
        config = InferenceConfig.load(folder)
        self.head, self._kind = open_head(config, coverage), config.kind
        self._baseline: TfidfBaseline | Int8Baseline
        self._baseline = (Int8Baseline if holds_int8_baseline(folder) else TfidfBaseline).load(folder)

    def predict(self, texts: Sequence[str]) -> Predictions:
        notes = notes_as_rows(texts, self.head.by_word)
        passages = list(texts)
        if self.head.by_word:
            passages = [own for text, found in zip(texts, notes.words, strict=True) for own in contexts(text, found)]
        logits = linked_logits(self._baseline, passages, self._kind)
        rows = np.split(logits, np.cumsum(notes.lengths)[:-1]) if self.head.by_word and len(texts) else [*logits]
        predictions: Predictions = self.head.decode(rows, notes)
        return predictions
