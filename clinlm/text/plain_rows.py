"""Tokenises notes of plain ASCII by looking whole words up: the rows of `RowCutter` in a fraction of the time."""

import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, Self, final

from clinlm.text.long_notes import LongNotes
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.tokens import CHARACTERS_PER_TOKEN, RowCutter, before_space, uncut

_PLAIN: Final = re.compile(r"[\t\n\r -~]*")
"""Characters that a BERT normalizer keeps as they are, but for case."""
_WORDS: Final = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
"""What a BERT pre-tokenizer splits plain text into: words, and every punctuation character by itself."""

REMEMBERED: Final = 2**16
"""Words whose pieces are remembered while a file is answered: about 10 MB. Then it begins again with none."""
_LONGEST_REMEMBERED: Final = 64


@final
class PlainRowCutter:
    """Cuts plain notes into rows, special tokens included: those of `RowCutter` where units are documents.

    A word of the vocabulary is one token to WordPiece, which takes the longest match; in clinical English most words
    are. The other words are matched from their beginning, as WordPiece does.

    Args:
        remember: number of words to remember; 0 for none, so that the time of a note does not depend on those before
            it.

    Source: Schuster and Nakajima 2012, "Japanese and Korean voice search"; `max_input_chars_per_word` as in BERT.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        row: list[int],
        probe: int,
        max_tokens: int,
        way: LongNotes,
        remember: int,
    ) -> None:
        self._pieces, self._remember = _Pieces(settings["model"]), remember
        self._remembered = _Remembered(self._pieces, remember)
        self._lowercase = settings["normalizer"]["lowercase"]
        self._added = [str(token["content"]).lower() for token in settings["added_tokens"]]
        place = row.index(probe)
        self._prefix, self._suffix = row[:place], row[place + 1 :]
        self._way, self._room = way, max_tokens - len(row) + 1
        self._read = way.tokens_read(self._room)

    @classmethod
    def of(cls, tokenizer: TextTokenizer, max_tokens: int, long_notes: LongNotes, remember: int = 0) -> Self | None:
        """Return the cutter of a BERT tokenizer; None for a tokenizer of another kind."""
        settings = json.loads(uncut(tokenizer).to_str())
        model, normalizer = settings["model"], settings["normalizer"] or {}
        kinds = (model["type"], normalizer.get("type"), (settings["pre_tokenizer"] or {}).get("type"))
        if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer") or not normalizer["clean_text"]:
            return None
        words = (word for word in model["vocab"] if word.isascii() and word.isalnum() and word == word.lower())
        probe = next(words, None)
        if probe is None or model["unk_token"] not in model["vocab"]:
            return None
        (row,) = RowCutter(tokenizer, max_tokens, long_notes)([probe]).documents[0]
        return cls(settings, row, model["vocab"][probe], max_tokens, long_notes, remember)

    def __call__(self, text: str) -> list[list[int]] | None:
        """Return the rows of a note; None for a note that has to be left to `RowCutter`."""
        length = len(text) if self._read is None else CHARACTERS_PER_TOKEN * (self._read + 1)
        while True:
            part = before_space(text, length)
            ids = self._ids(part)
            if ids is None:
                return None
            if len(part) == len(text) or (self._read is not None and len(ids) > self._read):
                return [[*self._prefix, *piece, *self._suffix] for piece in self._way.cut(ids, self._room)]
            length *= 2

    def _ids(self, text: str) -> list[int] | None:
        if not text.isascii() or _PLAIN.fullmatch(text) is None:
            return None
        lower = text.lower()
        if any(token in lower for token in self._added):
            return None  # written out in the text, it is one token
        own = lower if self._lowercase else text
        if not self._remember:
            return [*chain.from_iterable(map(self._pieces.ids, _WORDS.findall(own)))]
        # What stands between white space is looked up as a whole: words need not be parted from punctuation.
        return [*chain.from_iterable(map(self._remembered.__getitem__, own.split()))]


@final
class _Pieces:
    """Token ids of words."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self._vocabulary: Mapping[str, int] = model["vocab"]
        self._unknown = (self._vocabulary[model["unk_token"]],)
        self._inside, self._longest = model["continuing_subword_prefix"], model["max_input_chars_per_word"]
        self._reach = max(map(len, self._vocabulary))

    def ids(self, word: str) -> tuple[int, ...]:
        """Return the tokens of one word, or of one punctuation character."""
        whole = self._vocabulary.get(word)
        return self._matched(word) if whole is None or len(word) > self._longest else (whole,)

    def _matched(self, word: str) -> tuple[int, ...]:
        """Return the longest piece of the vocabulary at every place; one unknown token where there is none."""
        pieces, start, size = list[int](), 0, len(word)
        find, inside = self._vocabulary.get, ""
        if size > self._longest:
            return self._unknown
        while start < size:
            for end in range(min(size, start + self._reach), start, -1):
                found = find(inside + word[start:end])
                if found is not None:
                    pieces.append(found)
                    start, inside = end, self._inside
                    break
            else:
                return self._unknown
        return tuple(pieces) or self._unknown


@final
class _Remembered(dict[str, tuple[int, ...]]):
    """Token ids of what stands between white space, where it was read before."""

    def __init__(self, pieces: _Pieces, most: int) -> None:
        super().__init__()
        self._pieces, self._most = pieces, most

    def __missing__(self, words: str) -> tuple[int, ...]:
        found = (*chain.from_iterable(map(self._pieces.ids, _WORDS.findall(words))),)
        if len(words) <= _LONGEST_REMEMBERED:  # not an attachment in base64
            if len(self) >= self._most:
                self.clear()
            self[words] = found
        return found
