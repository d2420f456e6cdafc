"""Tokenises notes of plain ASCII by looking words up: the rows of `RowCutter` in a fraction of the time."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Self, final

from tokenizers.models import Model

from clinlm.text.long_notes import Head, LongNotes
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.tokens import CHARACTERS_PER_TOKEN, RowCutter, before_space, uncut

_PLAIN: Final = re.compile(r"[\t\n\r -~]*")
"""Characters that normalizers keep as they are, but for case."""
_WORDS: Final = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
"""What a BERT pre-tokenizer splits plain text into: words, and every punctuation character by itself."""
_BYTE_WORDS: Final = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
"""What a byte-level pre-tokenizer splits plain text into (GPT-2's expression)."""
_SPACED: Final = re.compile(r"\s*\S+|\s+", re.ASCII)
"""Parts of a text that no match of `_BYTE_WORDS` crosses: words, each with the white space before it."""
_BYTES: Final = str.maketrans("\t\n\r ", "ĉĊčĠ")
"""Characters that stand for bytes in a byte-level vocabulary; those from ! to ~ stand for themselves."""
_CANONICAL: Final = {"NFC", "NFD", "NFKC", "NFKD"}
"""Normalizers that change no ASCII."""

REMEMBERED: Final = 2**16
"""Words whose pieces are remembered while a file is answered: about 10 MB. Then it begins again with none."""
_LONGEST_REMEMBERED: Final = 64
_PROBE: Final = "a"

Ids = Callable[[str], list[int]]
"""From plain text without special tokens to its token ids."""


@final
class PlainRowCutter:
    """Cuts plain notes into rows, special tokens included: those of `RowCutter` where units are documents.

    Of BERT's tokenizers (WordPiece) a word of the vocabulary is one token, for WordPiece takes the longest match; in
    clinical English most words are. The other words are matched from their beginning, as WordPiece does. Of byte-level
    tokenizers (GPT-2, RoBERTa) pieces are those of the tokenizer itself, remembered by word.

    Args:
        row: what the tokenizer makes of `_PROBE`.
        added: tokens that may be written out in a text, in lower case.

    Source: Schuster and Nakajima 2012, "Japanese and Korean voice search"; `max_input_chars_per_word` as in BERT.
    """

    def __init__(self, ids: Ids, row: list[int], added: Sequence[str], max_tokens: int, way: LongNotes) -> None:
        self._find, self._added, self._way = ids, added, way
        probe = ids(_PROBE)
        place = next(start for start in range(len(row)) if row[start : start + len(probe)] == probe)
        self._prefix, self._suffix = row[:place], row[place + len(probe) :]
        self._room = max_tokens - len(self._prefix) - len(self._suffix)
        self._read = way.tokens_read(self._room)

    @classmethod
    def of(cls, tokenizer: TextTokenizer, max_tokens: int, long_notes: LongNotes, remember: int = 0) -> Self | None:
        """Return the cutter of a BERT or byte-level tokenizer; None for a tokenizer of another kind.

        Args:
            remember: number of words to remember; 0 for none, so that the time of a note does not depend on those
                before it. Without it there is nothing to gain for a byte-level tokenizer: None.
        """
        whole = uncut(tokenizer)
        settings = json.loads(whole.to_str())
        ids = _word_pieces(settings, remember) or _byte_pieces(settings, whole.model, remember)
        if ids is None:
            return None
        (row,) = RowCutter(tokenizer, 64, Head())([_PROBE]).documents[0]
        added = [str(token["content"]).lower() for token in settings["added_tokens"]]
        return cls(ids, row, added, max_tokens, long_notes)

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
        return self._find(text)


def _word_pieces(settings: Mapping[str, Any], remember: int) -> Ids | None:
    """Return what finds the ids of a BERT tokenizer; None for a tokenizer of another kind."""
    model, normalizer = settings["model"], settings["normalizer"] or {}
    kinds = (model["type"], normalizer.get("type"), (settings["pre_tokenizer"] or {}).get("type"))
    if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer") or not normalizer["clean_text"]:
        return None
    if model["unk_token"] not in model["vocab"]:
        return None
    pieces, lowercase = _Pieces(model), normalizer["lowercase"]
    if not remember:
        return lambda text: _joined(map(pieces.ids, _WORDS.findall(text.lower() if lowercase else text)))
    # What stands between white space is looked up as a whole: words need not be parted from punctuation.
    known = _Remembered(lambda words: _joined(map(pieces.ids, _WORDS.findall(words))), remember)
    return lambda text: _joined(map(known.__getitem__, (text.lower() if lowercase else text).split()))


def _byte_pieces(settings: Mapping[str, Any], model: Model, remember: int) -> Ids | None:
    """Return what finds the ids of a byte-level tokenizer (GPT-2, RoBERTa); None for a tokenizer of another kind."""
    splitter, normalizer = settings["pre_tokenizer"] or {}, settings["normalizer"] or {"type": "NFC"}
    kinds = (settings["model"]["type"], splitter.get("type"), splitter.get("use_regex", True))
    if kinds != ("BPE", "ByteLevel", True) or normalizer["type"] not in _CANONICAL or not remember:
        return None
    if settings["model"]["dropout"]:
        return None  # pieces drawn at random

    def pieces(part: str) -> list[int]:
        words = [word.translate(_BYTES) for word in _BYTE_WORDS.findall(part)]
        return [token.id for word in words for token in model.tokenize(word)]

    known, prefix = _Remembered(pieces, remember), splitter["add_prefix_space"]

    def ids(text: str) -> list[int]:
        begun = f" {text}" if prefix and text and not text.startswith(" ") else text
        return _joined(map(known.__getitem__, _SPACED.findall(begun)))

    return ids


def _joined(parts: Iterable[Sequence[int]]) -> list[int]:
    return [*chain.from_iterable(parts)]


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
class _Remembered(dict[str, Sequence[int]]):
    """Token ids of parts of texts, where they were read before."""

    def __init__(self, find: Callable[[str], Sequence[int]], most: int) -> None:
        super().__init__()
        self._find, self._most = find, most

    def __missing__(self, part: str) -> Sequence[int]:
        found = tuple(self._find(part))
        if len(part) <= _LONGEST_REMEMBERED:  # not an attachment in base64
            if len(self) >= self._most:
                self.clear()
            self[part] = found
        return found
