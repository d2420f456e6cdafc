"""Tokenises notes into the rows of token ids that a model reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from jaxtyping import Int
from tokenizers import Encoding, Tokenizer

from clinlm.config.errors import ConfigError
from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import LongNotes
from clinlm.text.stored_tokenizer import TextTokenizer
from clinlm.text.words import first_tokens, words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_PER_TOKEN = 5
"""Of a prefix that is tried first. English notes have 4 to 5 characters per token, spaces included."""
WORD_LIMIT = 2**16
"""Characters without white space between them that are tokenised at once, at most, where a prefix is read."""
_SPACES = " \t\n\r"
"""White space to every tokenizer. Others, such as the file separator, are removed by some, which joins two words."""
_SPLIT_AT_SPACE = ("BertPreTokenizer", "ByteLevel", "Whitespace", "WhitespaceSplit", "Metaspace")
_LOCAL_NORMALIZERS = ("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")


class Rows(NamedTuple):
    """Texts cut into rows.

    Attributes:
        documents: the rows of every text, each a list of token ids.
        cut: number of texts with tokens that are in no row.
        places: for every text and word, the index of the token that represents the word in the concatenated rows of the
            text, or -1 for none; None unless `by_word`.
    """

    documents: list[list[list[int]]]
    cut: int
    places: list[Int[np.ndarray, " words"]] | None = None


@final
class RowCutter:
    """Tokenises notes and cuts them into rows, special tokens included, the same in training and inference.

    Args:
        tokenizer: a fast tokenizer.
        max_tokens: longest row, special tokens included.
        long_notes: strategy for notes that do not fit into a row.
        by_word: whether to find the words in the rows.

    Raises:
        ConfigError: a row has room for special tokens only.
    """

    def __init__(self, tokenizer: TextTokenizer, max_tokens: int, long_notes: LongNotes, by_word: bool = False) -> None:
        self._whole, self._mask = uncut(tokenizer), tokenizer.mask_token
        self._prefix, self._suffix = _frame(self._whole)
        self._room = max_tokens - len(self._prefix) - len(self._suffix)
        if self._room < 1:
            raise ConfigError(
                f"a row must have room for a token that is not special, got task.max_tokens={max_tokens}; set it higher"
            )
        self._long_notes, self._by_word = long_notes, by_word
        self._read = long_notes.tokens_read(self._room) if splits_at_space(self._whole) else None

    def __call__(self, texts: Sequence[str]) -> Rows:
        """Return the rows of every text."""
        documents, cut, places = [], 0, []
        # Offsets of words must stay valid, so MASK is then an ordinary character.
        marked = texts if self._by_word else _with_mask_token(texts, self._mask)
        encodings = self._encode(marked)
        for text, encoding in zip(texts, encodings, strict=True):
            pieces = self._long_notes.cut(encoding.ids, self._room)
            documents.append([[*self._prefix, *piece, *self._suffix] for piece in pieces])
            cut += len(encoding.ids) > self._room and not self._is_fully_read(len(encoding.ids))
            if self._by_word:
                places.append(self._places(text, encoding))
        return Rows(documents, cut, places if self._by_word else None)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Return the encodings of all texts without special tokens; of a long text, of as much as the rows read.

        A prefix is encoded that ends before a space, twice as long each time, until it has more tokens than are read.
        Most of the time that a model needs for a long note would else be spent on tokens that it never reads.
        """
        encode = self._whole.encode_batch if self._by_word else self._whole.encode_batch_fast  # without offsets
        if self._read is None:
            return encode(list(texts), add_special_tokens=False)
        found: list[Encoding | None] = [None] * len(texts)
        open_texts = list(range(len(texts)))
        length = CHARACTERS_PER_TOKEN * (self._read + 1)
        while open_texts:
            parts = [before_space(texts[place], length) for place in open_texts]
            encodings = encode(parts, add_special_tokens=False)
            for place, part, encoding in zip(open_texts, parts, encodings, strict=True):
                if len(part) == len(texts[place]) or len(encoding.ids) > self._read:
                    found[place] = encoding
            open_texts = [place for place in open_texts if found[place] is None]
            length *= 2
        return [encoding for encoding in found if encoding is not None]

    def _places(self, text: str, encoding: Encoding) -> Int[np.ndarray, " words"]:
        """Return the place of every word; of a token in several rows, the one with the most context."""
        total = len(encoding.ids)
        first = first_tokens(words(text), np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2))
        place, room = np.full(total + 1, -1), np.full(total + 1, -1)
        start = 0
        for piece in self._long_notes.cut(range(total), self._room):
            own = np.asarray(piece, dtype=np.int64)
            column = np.arange(len(own))
            # A row that ends where the text ends cuts no context off.
            before = np.where(own == column, total, column)
            after = np.where(total - own == len(own) - column, total, len(own) - 1 - column)
            around = np.minimum(before, after)
            better = around > room[own]
            place[own[better]] = start + len(self._prefix) + column[better]
            room[own[better]] = around[better]
            start += len(self._prefix) + len(own) + len(self._suffix)
        found: Int[np.ndarray, " words"] = place[first]  # the last entry, -1, is for words without a token
        return found

    def _is_fully_read(self, tokens: int) -> bool:
        pieces = self._long_notes.cut(list(range(tokens)), self._room)
        return len({place for piece in pieces for place in piece}) == tokens


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write a fast tokenizer with a compact `tokenizer.json`: 198 kB for 14,000 tokens, 311 kB by transformers."""
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")


def uncut(tokenizer: TextTokenizer) -> Tokenizer:
    """Return a copy of the fast tokenizer that neither truncates nor pads.

    Checkpoints may define both in `tokenizer.json` (all-MiniLM-L6-v2: 128 tokens, padded to 128), and the padding would
    be read as text.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def splits_at_space(tokenizer: Tokenizer) -> bool:
    """Return whether the tokens of a text that is cut before a space are the first tokens of the whole text.

    True for tokenizers that are known to normalise characters independently of spaces, and to split at spaces first.
    """
    settings = json.loads(tokenizer.to_str())
    if any(set(token["content"]) & set(_SPACES) for token in settings["added_tokens"]):
        return False  # an added token may be several words
    normalizers = _parts(settings["normalizer"], "normalizers")
    splitters = _parts(settings["pre_tokenizer"], "pretokenizers")
    first = splitters[0] if splitters else {}
    return (
        all(part["type"] in _LOCAL_NORMALIZERS for part in normalizers)
        and first.get("type") in _SPLIT_AT_SPACE
        and first.get("use_regex", True)
        and first.get("split", True)
    )


def _parts(settings: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """Return the members of a sequence of normalizers or pre-tokenizers; of a single one, itself."""
    if settings is None:
        return []
    return settings[name] if settings["type"] == "Sequence" else [settings]


def before_space(text: str, length: int) -> str:
    """Return the text, or the longest prefix of at most `length` characters that ends before white space.

    Where the first word is longer, the prefix is that word. A word of more than `WORD_LIMIT` characters, which is none,
    is cut: its first tokens do not depend on what is so far behind, and all of it would take memory without bounds.
    """
    if len(text) <= length:
        return text
    end = max(text.rfind(space, 0, length + 1) for space in _SPACES)
    if end < 0:
        most = max(length, WORD_LIMIT)
        found = [place for place in (text.find(space, length, most) for space in _SPACES) if place >= 0]
        return text[: min(found, default=most)]
    return text[:length] if length - end > WORD_LIMIT else text[:end].rstrip(_SPACES)


def _with_mask_token(texts: Sequence[str], mask_token: str | None) -> list[str]:
    """Return the texts with `MASK` replaced by the tokenizer's mask token."""
    if mask_token is None and any(MASK in text for text in texts):
        raise ConfigError(
            "the tokenizer must have a mask token for masked words, this one has none; choose another model, or set "
            "task.corpus.mask_triggers=false"
        )
    return [text.replace(MASK, mask_token or "") for text in texts]


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer puts before and after a text."""
    probe = tokenizer.encode("a", add_special_tokens=True)
    special = [bool(flag) for flag in probe.special_tokens_mask]
    inside = [place for place, flag in enumerate(special) if not flag] or [len(probe.ids) // 2]
    before, after = inside[0], inside[-1] + (1 if False in special else 0)
    return probe.ids[:before], probe.ids[after:]
