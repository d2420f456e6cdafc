"""Smaller vocabularies: which tokens to keep, and the tokenizer with only these.

Two laws. A text whose tokens are all kept is tokenised as before. A text that could be tokenised without unknown tokens
still can: all single-character pieces are kept.
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

from clinlm.config.errors import ModelError
from clinlm.config.ranges import check_at_least
from clinlm.text.group_floor import GroupFloor
from clinlm.text.long_notes import Head
from clinlm.text.tokens import RowCutter

_KINDS = ("WordPiece", "BPE", "Unigram")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""Token for a byte, in tokenizers with byte fallback."""
_KEPT_SETTINGS = ("model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces")


def count_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Int[np.ndarray, " tokens"]:
    """Return how often every token occurs in `texts`, without truncation; entry i is token i, up to the last id."""
    return _counted(tokenizer, texts)[0]


def count_common_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], floor: GroupFloor
) -> tuple[Int[np.ndarray, " tokens"], int]:
    """Return the counts of `count_tokens`, but 0 for tokens of too few groups; and how many these are."""
    counts, found = _counted(tokenizer, texts)
    document, token = (np.concatenate(part) for part in zip(*found, strict=True))
    rare = (counts > 0) & (floor.count(document, token, len(counts)) < floor.least)
    floor.warn(int((counts > 0).sum() - rare.sum()), int(rare.sum()), "token")
    return np.where(rare, 0, counts), int(rare.sum())


def _counted(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> tuple[Int[np.ndarray, " tokens"], list[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]]:
    """Return the counts of all tokens, and the pairs of text and token that occur."""
    size = max(tokenizer.get_vocab().values()) + 1
    counts, found = np.zeros(size, dtype=np.int64), []
    rows = RowCutter(tokenizer, sys.maxsize, Head())
    for start in range(0, len(texts), 256):
        documents = rows(texts[start : start + 256]).documents
        tokens = np.array([token for own in documents for row in own for token in row], dtype=np.int64)
        lengths = [sum(map(len, own)) for own in documents]
        counts += np.bincount(tokens, minlength=size)
        pairs = np.unique(np.repeat(np.arange(start, start + len(documents)), lengths) * size + tokens)
        found.append(np.divmod(pairs, size))
    return counts, found


def tokens_to_keep(
    tokenizer: PreTrainedTokenizerBase, counts: Int[np.ndarray, " tokens"], min_count: int = 1
) -> list[int]:
    """Return the tokens to keep, ascending: those that occur, those that spell all others, and special tokens.

    All other text is spelled by single-character or byte pieces and the longer pieces that are kept; with BPE the parts
    of a merge are kept too. A piece with a character that has no piece of its own is kept. (WordPiece and Unigram: a
    word with such a character may still become unknown, because it is now split elsewhere. Vocabularies learnt from
    texts have no such character.)

    Args:
        tokenizer: a fast one.
        counts: see `count_tokens`.
        min_count: occurrences that a token needs to be kept; 1 keeps the tokenisation of the counted texts.

    Raises:
        ConfigError: `min_count` below 1.
        ModelError: a kind of tokenizer that cannot spell removed tokens by others.
    """
    check_at_least("min_count", min_count, 1)
    description = _description(tokenizer)
    model = description["model"]
    ids = _ids(model)
    stay = {piece for piece, number in ids.items() if counts[number] >= min_count} | set(_spelling(model, ids))
    stay |= {piece for piece in (model.get("unk_token"),) if piece is not None}
    if model["type"] == "BPE":
        stay = _with_parts(model, stay)
    added = {token["id"] for token in description["added_tokens"]}
    return sorted({ids[piece] for piece in stay if piece in ids} | added | set(tokenizer.all_special_ids))


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> PreTrainedTokenizerFast:
    """Return the tokenizer with only `tokens`; token `tokens[i]` becomes token i.

    Args:
        tokenizer: a fast one; not changed.
        tokens: see `tokens_to_keep`.
    """
    description = _description(tokenizer)
    new = {int(old): number for number, old in enumerate(tokens)}
    _renumber_model(description["model"], new)
    for token in description["added_tokens"]:
        token["id"] = new[token["id"]]
    if description["padding"] is not None:
        description["padding"]["pad_id"] = new[description["padding"]["pad_id"]]
    _renumber_processor(description["post_processor"], new)
    known = {name: getattr(tokenizer, name) for name in _KEPT_SETTINGS if hasattr(tokenizer, name)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(description)),
        model_input_names=["input_ids", "attention_mask"],
        **known,
        **tokenizer.special_tokens_map,
    )


def _description(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the tokenizer as JSON."""
    description: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = description["model"]["type"]
    if kind not in _KINDS:
        raise ModelError(
            f"a tokenizer to trim must be of type {', '.join(_KINDS)}, got {kind}; remove prune=vocabulary or use "
            "another model"
        )
    return description


def _ids(model: Mapping[str, Any]) -> dict[str, int]:
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _spelling(model: Mapping[str, Any], ids: Mapping[str, int]) -> Iterator[str]:
    """Yield the pieces without which some text could no longer be tokenised."""
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
        # The score of an unknown character is relative to that of the least likely piece.
        yield min(model["vocab"], key=lambda entry: entry[1])[0]


def _letters(piece: str, prefix: str, suffix: str) -> list[str]:
    """Return the single-character pieces that spell `piece`, each marked as inside or at the end of a word."""
    inside, ends = bool(prefix) and piece.startswith(prefix), bool(suffix) and piece.endswith(suffix)
    text = piece.removeprefix(prefix if inside else "").removesuffix(suffix if ends else "")
    letters = [prefix * (inside or place > 0) + letter for place, letter in enumerate(text)]
    if ends and letters:
        letters[-1] += suffix
    return letters


def _merged(model: Mapping[str, Any], pair: Sequence[str]) -> str:
    return pair[0] + pair[1].removeprefix(model.get("continuing_subword_prefix") or "")


def _with_parts(model: Mapping[str, Any], pieces: set[str]) -> set[str]:
    """Return `pieces` and all parts from which BPE merges them."""
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
    """Renumber the special tokens around a row; processors such as `ByteLevel` have none."""
    if processor is None:
        return
    for part in processor.get("processors", []):
        _renumber_processor(part, new)
    for name in ("cls", "sep"):
        if name in processor:
            processor[name] = [processor[name][0], new[processor[name][1]]]
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [new[number] for number in special["ids"]]
