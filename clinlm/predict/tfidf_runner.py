"""The TF-IDF baselines, whole or with INT8 weights, served from their folders in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np

from clinlm.config.errors import ModelError
from clinlm.engines.served_folder import REMEDY, broken, check_folder, read_serving
from clinlm.metrics.baseline import FILES, TfidfBaseline
from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline, holds_int8_baseline
from clinlm.metrics.term_model import CARD, linked_logits
from clinlm.predict.model_runner import Runner, open_head
from clinlm.predict.note_answer import notes_as_rows
from clinlm.predict.predictions import Predictions
from clinlm.tasks.inference_config import SERVING
from clinlm.text.contexts import contexts


def holds_tfidf(folder: Path) -> bool:
    """Return whether a folder holds a TF-IDF baseline, whole or with INT8 weights, and not a network."""
    return (folder / CARD).is_file()


@final
class TfidfRunner(Runner):
    """Predicts notes with TF-IDF and logistic regression. A note is one row, and a word of a tagger is one token of it.

    Raises:
        MissingFileError: a file is missing.
        Damaged: a file has changed.
        ModelError: a file cannot be read, is a link, or does not fit the others.
    """

    def __init__(self, folder: Path, coverage: float | None = None) -> None:
        whole = not holds_int8_baseline(folder)
        check_folder(folder, (SERVING, CARD, *(FILES if whole else INT8_FILES)))
        config = read_serving(folder)
        self.head, self._kind = open_head(config, coverage), config.kind
        self._baseline: TfidfBaseline | Int8Baseline
        with broken(folder, "hold a TF-IDF baseline"):
            self._baseline = (TfidfBaseline if whole else Int8Baseline).load(folder)
            terms, labels = len(self._baseline.vocabulary), len(config.labels)
            parts = self._baseline.idf.shape, sorted(self._baseline.weights.shape), self._baseline.bias.shape
            if parts != ((terms,), sorted((terms, labels)), (labels,)):
                raise ModelError(f"{folder} must have weights for {terms:,} terms and {labels} labels; {REMEDY}")

    def predict(self, texts: Sequence[str]) -> Predictions:
        notes = notes_as_rows(texts, self.head.by_word)
        passages = list(texts)
        if self.head.by_word:
            passages = [own for text, found in zip(texts, notes.words, strict=True) for own in contexts(text, found)]
        logits = linked_logits(self._baseline, passages, self._kind)
        rows = np.split(logits, np.cumsum(notes.lengths)[:-1]) if self.head.by_word and len(texts) else [*logits]
        predictions: Predictions = self.head.decode(rows, notes)
        return predictions
