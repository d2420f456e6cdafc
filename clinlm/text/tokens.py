"""From the text of a note to the rows of token ids that a model reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import LongNotes
from clinlm.text.words import first_tokens, words


class Rows(NamedTuple):
    """Texts cut into rows.

    Attributes:
        documents: the rows of every text, each a list of token ids.
        cut: how many of the texts have tokens that stand in no row.
        places: for every text, of every word the token of its rows, end to end, that answers for it, or -1 where it
            stands in no row; None where words were not asked for.
    """

    documents: list[list[list[int]]]
    cut: int
    places: list[Int[np.ndarray, " words"]] | None = None


@final
class RowCutter:
    """Tokenises notes and cuts them into rows, special tokens included, the same in training and in use.

    Args:
        tokenizer: a fast one.
        max_tokens: longest row, special tokens included.
        long_notes: what becomes of a note that does not fit into a row.
        by_word: whether words are to be found in the rows.

    Raises:
        ValueError: a row would hold special tokens only.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_tokens: int, long_notes: LongNotes, by_word: bool = False
    ) -> None:
        self._whole, self._mask = uncut(tokenizer), tokenizer.mask_token
        self._prefix, self._suffix = _frame(self._whole)
        self._room = max_tokens - len(self._prefix) - len(self._suffix)
        if self._room < 1:
            raise ValueError(
                f"a row holds at least one token beside the special ones; task.max_tokens={max_tokens} leaves none"
            )
        self._long_notes, self._by_word = long_notes, by_word

    def __call__(self, texts: Sequence[str]) -> Rows:
        """Return the rows of every text."""
        documents, cut, places = [], 0, []
        # Where words are asked for, every character stays where it is: our mark is one like any other.
        marked = texts if self._by_word else _masked(texts, self._mask)
        encodings = self._whole.encode_batch(list(marked), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            pieces = self._long_notes.cut(encoding.ids, self._room)
            documents.append([[*self._prefix, *piece, *self._suffix] for piece in pieces])
            cut += len(encoding.ids) > self._room and not self._reads_all(len(encoding.ids))
            if self._by_word:
                places.append(self._places(text, encoding))
        return Rows(documents, cut, places if self._by_word else None)

    def _places(self, text: str, encoding: Encoding) -> Int[np.ndarray, " words"]:
        """Return the place of every word: of a token that stands in several rows, where it has most around it."""
        total = len(encoding.ids)
        first = first_tokens(words(text), np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2))
        place, room = np.full(total + 1, -1), np.full(total + 1, -1)
        start = 0
        for piece in self._long_notes.cut(range(total), self._room):
            own = np.asarray(piece, dtype=np.int64)
            column = np.arange(len(own))
            # Beyond the ends of the text there is nothing to be seen: an end of a row there cuts nothing off.
            before = np.where(own == column, total, column)
            after = np.where(total - own == len(own) - column, total, len(own) - 1 - column)
            around = np.minimum(before, after)
            better = around > room[own]
            place[own[better]] = start + len(self._prefix) + column[better]
            room[own[better]] = around[better]
            start += len(self._prefix) + len(own) + len(self._suffix)
        found: Int[np.ndarray, " words"] = place[first]  # the last entry, -1, is for words without a token
        return found

    def _reads_all(self, tokens: int) -> bool:
        pieces = self._long_notes.cut(list(range(tokens)), self._room)
        return len({place for piece in pieces for place in piece}) == tokens


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a fast tokenizer as transformers does, but for `tokenizer.json` without a line for every entry.

    Of a vocabulary of 14,000 entries these are 198 kB instead of 311, much beside a model of 1 MB.
    """
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")


def uncut(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a copy of the fast tokenizer that neither truncates nor pads.

    Checkpoints may carry both in `tokenizer.json` (all-MiniLM-L6-v2: 128 tokens, padded to 128), and the padding would
    be read as text.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _masked(texts: Sequence[str], mask_token: str | None) -> list[str]:
    """Return the texts with the tokenizer's mask token in place of our mark for a masked word."""
    if mask_token is None and any(MASK in text for text in texts):
        raise ValueError(
            "masked words need a tokenizer with a mask token; this one has none; choose another model, or set "
            "task.corpus.mask_triggers=false"
        )
    return [text.replace(MASK, mask_token or "") for text in texts]


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens before and after a row, as the tokenizer itself sets them."""
    probe = tokenizer.encode("a", add_special_tokens=True)
    special = [bool(flag) for flag in probe.special_tokens_mask]
    inside = [place for place, flag in enumerate(special) if not flag] or [len(probe.ids) // 2]
    before, after = inside[0], inside[-1] + (1 if False in special else 0)
    return probe.ids[:before], probe.ids[after:]
