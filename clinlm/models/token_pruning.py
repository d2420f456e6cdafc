"""Smaller vocabularies: which tokens must stay, and the tokenizer without the others.

Two laws. A text all of whose tokens stay is cut into the same pieces as before. A text that could be spelled before can
still be spelled: every piece of one character stays.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from clinlm.text.long_notes import Head
from clinlm.text.tokens import RowCutter

_KINDS = ("WordPiece", "BPE", "Unigram")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""What stands for a byte where a tokenizer falls back to bytes."""
_AS_BEFORE = ("model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces")


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Int[np.ndarray, " tokens"]:
    """Return how often every token stands in `texts`, read whole; entry i is token i, up to the last token there is."""
    counts = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=np.int64)
    rows = RowCutter(tokenizer, sys.maxsize, Head())
    for start in range(0, len(texts), 256):
        cut = rows(texts[start : start + 256])
        tokens = [token for document in cut.documents for row in document for token in row]
        counts += np.bincount(tokens, minlength=len(counts))
    return counts


def tokens_to_keep(
    tokenizer: PreTrainedTokenizerBase, counts: Int[np.ndarray, " tokens"], min_count: int = 1
) -> list[int]:
    """Return the tokens that stay, ascending: those that occur, what spells everything else, and special tokens.

    Everything else is spelled by pieces of one character or byte, and by whatever longer ones stay; with BPE what a
    piece is merged from stays too. A piece with a character that has no piece of its own stays. (WordPiece and Unigram:
    a word with such a character may still become unknown, where it is now cut at other places. Vocabularies that were
    learnt from texts have no such character.)

    Args:
        tokenizer: a fast one.
        counts: see `occurrences`.
        min_count: how often a token must occur to stay; 1 leaves the texts counted exactly as they were.

    Raises:
        ValueError: `min_count` below 1, or a kind of tokenizer without a way to spell what it does not hold.
    """
    if min_count < 1:
        raise ValueError(f"min_count is at least 1: what never occurs is spelled otherwise; got {min_count}")
    told = _told(tokenizer)
    model = told["model"]
    ids = _ids(model)
    stay = {piece for piece, number in ids.items() if counts[number] >= min_count} | set(_spelling(model, ids))
    stay |= {piece for piece in (model.get("unk_token"),) if piece is not None}
    if model["type"] == "BPE":
        stay = _with_parts(model, stay)
    added = {one["id"] for one in told["added_tokens"]}
    return sorted({ids[piece] for piece in stay if piece in ids} | added | set(tokenizer.all_special_ids))


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> PreTrainedTokenizerFast:
    """Return the tokenizer that has `tokens` only; token `tokens[i]` becomes token i.

    Args:
        tokenizer: a fast one; left as it is.
        tokens: see `needed`.
    """
    told = _told(tokenizer)
    new = {int(old): number for number, old in enumerate(tokens)}
    _renumber_model(told["model"], new)
    for one in told["added_tokens"]:
        one["id"] = new[one["id"]]
    if told["padding"] is not None:
        told["padding"]["pad_id"] = new[told["padding"]["pad_id"]]
    _renumber_processor(told["post_processor"], new)
    known = {name: getattr(tokenizer, name) for name in _AS_BEFORE if hasattr(tokenizer, name)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(told)),
        model_input_names=["input_ids", "attention_mask"],
        **known,
        **tokenizer.special_tokens_map,
    )


def _told(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if told["model"]["type"] not in _KINDS:
        raise ValueError(
            f"a vocabulary is trimmed where what goes can be spelled by what stays: {', '.join(_KINDS)}; this "
            f"tokenizer is {told['model']['type']}; leave prune=vocabulary out, or take another model"
        )
    return told


def _ids(model: Mapping[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _spelling(model: Mapping[str, Any], ids: Mapping[str, int]) -> Iterator[str]:
    """Yield the pieces without which some text could no longer be spelled."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    for piece in ids:
        letters = _letters(piece, prefix, suffix)
        if (
            len(letters) <= 1
            or not ids.keys() >= set(letters)
            or (model.get("byte_fallback") and _BYTE.fullmatch(piece))
        ):
            yield piece
    if model["type"] == "Unigram":
        # What an unknown character costs is counted from the least likely piece.
        yield min(model["vocab"], key=lambda entry: entry[1])[0]


def _letters(piece: str, prefix: str, suffix: str) -> list[str]:
    """Return the pieces of one character that spell `piece`, each marked as inside or at the end of a word."""
    inside, ends = bool(prefix) and piece.startswith(prefix), bool(suffix) and piece.endswith(suffix)
    text = piece.removeprefix(prefix if inside else "").removesuffix(suffix if ends else "")
    letters = [prefix * (inside or place > 0) + letter for place, letter in enumerate(text)]
    if ends and letters:
        letters[-1] += suffix
    return letters


def _merged(model: Mapping[str, Any], pair: Sequence[str]) -> str:
    return pair[0] + pair[1].removeprefix(model.get("continuing_subword_prefix") or "")


def _with_parts(model: Mapping[str, Any], pieces: set[str]) -> set[str]:
    """Return `pieces` with all that they are merged from: BPE comes to a piece by way of its parts."""
    parts: dict[str, list[str]] = {}
    for pair in model["merges"]:
        parts.setdefault(_merged(model, pair), []).extend(pair)
    found, waiting = set(), list(pieces)
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting += parts.get(piece, [])
    return found


def _renumber_model(model: dict[str, Any], new: Mapping[int, int]) -> None:
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        if model["unk_id"] is not None:
            model["unk_id"] = new[model["unk_id"]]
        return
    model["vocab"] = {piece: new[number] for piece, number in model["vocab"].items() if number in new}
    if model["type"] == "BPE":
        there = model["vocab"].keys()
        model["merges"] = [pair for pair in model["merges"] if {*pair, _merged(model, pair)} <= there]


def _renumber_processor(processor: dict[str, Any] | None, new: Mapping[int, int]) -> None:
    """Renumber the special tokens that frame a row; `ByteLevel` and its like have none."""
    if processor is None:
        return
    for part in processor.get("processors", []):
        _renumber_processor(part, new)
    for name in ("cls", "sep"):
        if name in processor:
            processor[name] = [processor[name][0], new[processor[name][1]]]
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [new[number] for number in special["ids"]]
