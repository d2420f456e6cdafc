"""One model on all cores: rows of similar length in batches, each batch computed by a single thread."""

import queue
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from clinlm.engines.base import Answer
from clinlm.engines.open_model import open_model
from clinlm.predict.answer_head import AnswerHead, RowLogits, TokenizedNotes
from clinlm.predict.document_head import DocumentHead
from clinlm.predict.note_tokenizer import NoteTokenizer, TokenRow
from clinlm.predict.predictions import Predictions
from clinlm.predict.span_head import SpanHead
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.terminology.lexicon import MASK
from clinlm.text.plain_rows import REMEMBERED


def open_head(config: InferenceConfig, coverage: float | None = None) -> AnswerHead[Any]:
    """Return the head for the kind of a model; with a coverage, it answers with sets as well."""
    return SpanHead(config, coverage) if config.kind == "entities" else DocumentHead(config, coverage)


class Runner(ABC):
    """Predicts notes with one model. Subclasses are final.

    Attributes:
        head: turns its logits into predictions.
    """

    head: AnswerHead[Any]

    def refuse(self, text: str) -> str:
        """Return why the model cannot read a text at all, or "" if it can."""
        return ""

    @abstractmethod
    def begin(self, texts: Sequence[str]) -> "PendingPredictions":
        """Begin to predict texts, none of which is refused."""


@final
class ModelRunner(Runner):
    """Predicts notes with a network, as an engine runs it.

    Single threads with small batches beat one batch on many threads on a CPU, and share nothing but the queue.

    Args:
        threads: number of copies of the model.
        batch_tokens: maximum tokens of a batch, padding included.
        pool: that computes the batches, with as many threads.
        coverage: of the sets that are written as well; None for none.
    """

    def __init__(
        self, folder: Path, threads: int, batch_tokens: int, pool: Executor, coverage: float | None = None
    ) -> None:
        first = open_model(folder, threads=1)
        self.head = open_head(first.inference_config, coverage)
        self.batch_tokens, self._pool, self._alone = batch_tokens, pool, first.inference_config.alone
        by_word = self.head.by_word
        self._tokenize = NoteTokenizer(first.tokenizer, first.inference_config, by_word, REMEMBERED)
        # For a head by word, our character for a masked word is a character like any other.
        self._refused = MASK if first.tokenizer.mask_token is None and not by_word else ""
        self._copies: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._copies.put(first.answer)
        for _ in range(threads - 1):
            self._copies.put(first.engine.open(folder, threads=1))

    def refuse(self, text: str) -> str:
        if self._refused and self._refused in text:
            return f"the text has the character U+{ord(MASK):04X}, which stands for a masked word; the model has none"
        return ""

    def begin(self, texts: Sequence[str]) -> "PendingPredictions":
        """Tokenize texts, none of which is refused, and submit their batches to the pool."""
        rows, notes = self._tokenize(texts)
        grouped = single_notes(notes) if self._alone else batches(notes.lengths, self.batch_tokens)
        futures = [self._pool.submit(self._predict, [rows[place] for place in batch], batch) for batch in grouped]
        return PendingPredictions(self.head, futures, notes)

    def _predict(self, rows: list[TokenRow], places: list[int]) -> tuple[list[int], Iterable[np.ndarray]]:
        input_ids, attention_mask = self._tokenize.padded(rows)
        model = self._copies.get()
        try:
            return places, model(input_ids, attention_mask)
        finally:
            self._copies.put(model)


@final
@dataclass(frozen=True)
class PendingPredictions:
    """Notes whose batches are being computed."""

    head: AnswerHead[Any]
    futures: list["Future[tuple[list[int], Iterable[np.ndarray]]]"]
    notes: TokenizedNotes

    def wait(self) -> Predictions:
        """Return the predictions for the notes, in order."""
        logits: list[RowLogits | None] = [None] * len(self.notes.lengths)
        for future in self.futures:
            places, found = future.result()
            for place, row in zip(places, found, strict=True):
                logits[place] = row
        predictions: Predictions = self.head.decode(logits, self.notes)
        return predictions


def single_notes(notes: TokenizedNotes) -> Iterator[list[int]]:
    """Yield the places of the rows of every note, the longest notes first; rows without tokens are left out."""
    found: dict[int, list[int]] = {}
    for place, (note, length) in enumerate(zip(notes.document, notes.lengths, strict=True)):
        if length:
            found.setdefault(note, []).append(place)
    yield from sorted(found.values(), key=lambda places: -sum(notes.lengths[place] for place in places))


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows of similar length, the longest rows first, so that no thread ends with a long batch.

    Args:
        lengths: of the rows; rows without tokens are left out.
        tokens: maximum of a batch, padding included; a longer row is a batch of its own.
    """
    order = sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        size = max(1, tokens // lengths[order[start]])
        yield order[start : start + size]
        start += size
