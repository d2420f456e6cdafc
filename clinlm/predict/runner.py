"""One model over all cores: rows of similar length in batches, every batch computed by a single thread."""

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from clinlm.engines.base import Answer, find_engine
from clinlm.engines.export import open_model
from clinlm.predict.answers import Said
from clinlm.predict.question import Question, Reading
from clinlm.predict.questions import question
from clinlm.terminology.lexicon import MASK
from clinlm.text.tokens import RowCutter
from clinlm.text.words import words

_CHARACTERS = 2**18
"""Tokenised at once: the tokenizer keeps some hundred bytes a token until the rows are made."""

Row = np.ndarray


@final
class Runner:
    """Answers notes with one model.

    Single threads with small batches beat one batch on many threads on a CPU, and share nothing but the queue.

    Args:
        folder: of an artifact or a deployment.
        threads: copies of the model.
        batch_tokens: of a batch, padding included.
        pool: where batches are computed; it has as many threads.
    """

    def __init__(self, folder: Path, threads: int, batch_tokens: int, pool: Executor) -> None:
        first = open_model(folder, threads=1)
        self.question: Question[Any] = question(first.serving)
        self.engine = first.engine
        self.batch_tokens, self._pool = batch_tokens, pool
        serving, by_word = first.serving, self.question.by_word
        self._cut = RowCutter(first.tokenizer, serving.max_tokens, serving.long_notes, by_word)
        # Where words are asked for, our mark for a masked one is a character like any other.
        self._refused = MASK if first.tokenizer.mask_token is None and not by_word else ""
        self._pad = int(first.tokenizer.pad_token_id or 0)
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._answers.put(first.answer)
        for _ in range(threads - 1):
            self._answers.put(find_engine(first.engine).open(folder, threads=1))

    def refuses(self, text: str) -> str:
        """Return why the model cannot read a text at all, or "" if it can."""
        if self._refused and self._refused in text:
            return f"the text has the character U+{ord(MASK):04X}, which stands for a masked word; the model has none"
        return ""

    def begin(self, texts: Sequence[str]) -> "Pending":
        """Tokenise the texts and hand their batches to the pool.

        Args:
            texts: none of which `refuses`.
        """
        rows: list[Row] = []
        reading = Reading(len(texts), [], [], [], [])
        for part in _parts(texts):
            cut = self._cut(part)
            for pieces in cut.documents:
                number = reading.document[-1] + 1 if reading.document else 0
                rows += [np.array(piece, dtype=np.int32) for piece in pieces]
                reading.document += [number] * len(pieces)
            if cut.places is not None:
                reading.places += cut.places
                reading.words += map(words, part)
        reading.lengths += map(len, rows)
        futures = [
            self._pool.submit(self._answer, [rows[place] for place in batch], batch)
            for batch in batches(reading.lengths, self.batch_tokens)
        ]
        return Pending(self.question, futures, reading)

    def _answer(self, rows: list[Row], places: list[int]) -> tuple[list[int], torch.Tensor]:
        longest = max(map(len, rows))
        input_ids = torch.full((len(rows), longest), self._pad, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for line, row in enumerate(rows):
            input_ids[line, : len(row)] = torch.from_numpy(row)
            attention_mask[line, : len(row)] = 1
        answer = self._answers.get()
        try:
            return places, answer(input_ids, attention_mask)
        finally:
            self._answers.put(answer)


@final
@dataclass(frozen=True)
class Pending:
    """A window of notes on its way through the model."""

    question: Question[Any]
    futures: list["Future[tuple[list[int], torch.Tensor]]"]
    reading: Reading

    def wait(self) -> Said:
        """Return the answers to the notes, in their order."""
        logits: list[torch.Tensor | None] = [None] * len(self.reading.lengths)
        for future in self.futures:
            places, found = future.result()
            for place, own in zip(places, found, strict=True):
                logits[place] = own
        said: Said = self.question.said(logits, self.reading)
        return said


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows of similar length, the longest rows first, so that no thread ends with a long batch.

    Args:
        lengths: of the rows; rows of no token are left out: there is nothing to answer.
        tokens: of a batch, padding included; a longer row is a batch of its own.
    """
    order = sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        many = max(1, tokens // lengths[order[start]])
        yield order[start : start + many]
        start += many


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut the texts into slices of about `_CHARACTERS`, at least one text each."""
    start, size = 0, 0
    for end, text in enumerate(texts):
        if size and size + len(text) > _CHARACTERS:
            yield texts[start:end]
            start, size = end, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]
