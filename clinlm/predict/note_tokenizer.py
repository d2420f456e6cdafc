"""From texts to the rows of token ids that a network reads, the same for one note and for a file of them."""

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
from jaxtyping import Int

from clinlm.engines.base import Rows
from clinlm.predict.answer_head import TokenizedNotes
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.text.plain_rows import PlainRowCutter
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.tokens import RowCutter
from clinlm.text.words import words

_CHARACTERS = 2**18
"""Tokenized at once: the tokenizer needs some hundred bytes per token until the rows are made."""

TokenRow = Int[np.ndarray, " _"]


@final
class NoteTokenizer:
    """Cuts notes into rows of token ids, as `serving.json` says.

    Args:
        by_word: whether the model answers words, and not notes.
        remember: see `PlainRowCutter`.
    """

    def __init__(self, tokenizer: TextTokenizer, config: InferenceConfig, by_word: bool, remember: int = 0) -> None:
        self._cut = RowCutter(tokenizer, config.max_tokens, config.long_notes, by_word)
        plain = PlainRowCutter.of(tokenizer, config.max_tokens, config.long_notes, remember)
        self._plain = None if by_word else plain
        self._pad = int(tokenizer.pad_token_id or 0)

    def __call__(self, texts: Sequence[str]) -> tuple[list[TokenRow], TokenizedNotes]:
        """Return all rows of the texts, and which note each belongs to."""
        rows: list[TokenRow] = []
        notes = TokenizedNotes(len(texts), [], [], [], [])
        for part in _slices(texts):
            found = [None if self._plain is None else self._plain(text) for text in part]
            cut = self._cut([text for text, own in zip(part, found, strict=True) if own is None])
            others = iter(cut.documents)
            for own in found:
                pieces = next(others) if own is None else own
                number = notes.document[-1] + 1 if notes.document else 0
                rows += [np.array(piece, dtype=np.int32) for piece in pieces]
                notes.document += [number] * len(pieces)
            if cut.places is not None:
                notes.places += cut.places
                notes.words += map(words, part)
        notes.lengths += map(len, rows)
        return rows, notes

    def padded(self, rows: Sequence[TokenRow]) -> tuple[Rows, Rows]:
        """Return token ids and their mask, padded to the longest of at least one row."""
        input_ids = np.full((len(rows), max(map(len, rows))), self._pad, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for line, row in enumerate(rows):
            input_ids[line, : len(row)] = row
            attention_mask[line, : len(row)] = 1
        return input_ids, attention_mask


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield slices of about `_CHARACTERS` characters, each with at least one text."""
    start, size = 0, 0
    for end, text in enumerate(texts):
        if size and size + len(text) > _CHARACTERS:
            yield texts[start:end]
            start, size = end, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]
