"""Rows of plain notes are those of the tokenizer itself, for every way of reading long notes."""

import csv
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import odd_texts
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from clinlm.models.model import Model
from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import Head, HeadTail, LongNotes, Windows
from clinlm.text.plain_rows import PlainRowCutter
from clinlm.text.tokens import RowCutter

NOTES = Path(__file__).parents[2] / "docs" / "notes.csv"
WORDS = "No fever. Denies chest pain, cough or chills; BP 120/80 [MASK] [mask] ##ing don't e.g. A-fib <2+ mg/dL".split()
LETTERS = st.text(st.characters(max_codepoint=127), max_size=6)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*WORDS, " ", "\n", "  ", "\t", "a" * 99, "b" * 101, "\x7f", "\x1c", "é", MASK]), LETTERS
    ),
    max_size=40,
).map("".join)


@cache
def trained(lowercase: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        [" ".join(WORDS)] * 9, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special)
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@cache
def byte_level(prefix: bool, nfc: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(ignore_merges=nfc))
    tokenizer.normalizer = normalizers.NFC() if nfc else None  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    special = ["<s>", "<pad>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 9, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", mask_token="<mask>")


@pytest.mark.parametrize("lowercase", [True, False])
@given(text=TEXTS, room=st.integers(3, 14), way=st.sampled_from([Head(), Windows(most=2), HeadTail()]))
def test_rows_are_those_of_the_tokenizer(lowercase: bool, text: str, room: int, way: LongNotes) -> None:
    tokenizer = trained(lowercase)
    plain = PlainRowCutter.of(tokenizer, room, way)
    remembering = PlainRowCutter.of(tokenizer, room, way, remember=3)
    assert plain is not None and remembering is not None
    rows = plain(text)
    assert remembering(text) == remembering(text) == rows, "also where it has to forget"
    if rows is not None:
        assert [rows] == RowCutter(tokenizer, room, way)([text]).documents
    read = way.tokens_read(room - 2)
    if read is None or len(text) <= 5 * (read + 1):
        odd = not text.isascii() or any(ord(one) < 32 and one not in "\t\n\r" or one == "\x7f" for one in text)
        added = any(token.lower() in text.lower() for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
        assert (rows is None) == (odd or added)


@pytest.mark.parametrize(("prefix", "nfc"), [(True, False), (False, True)])
@given(
    text=st.one_of(TEXTS, odd_texts.texts, st.text(st.sampled_from(" \t\n\r'abs1.<-"), max_size=30)),
    room=st.integers(3, 14),
    way=st.sampled_from([Head(), Windows(most=2), HeadTail()]),
)
def test_rows_of_byte_level_tokenizers_are_those_of_the_tokenizer(
    prefix: bool, nfc: bool, text: str, room: int, way: LongNotes
) -> None:
    tokenizer = byte_level(prefix, nfc)
    remembering = PlainRowCutter.of(tokenizer, room, way, remember=3)
    assert remembering is not None and PlainRowCutter.of(tokenizer, room, way) is None
    rows = remembering(text)
    assert rows == remembering(text), "also where it has to forget"
    assert rows is not None or not text.isascii() or "<" in text or any(ord(one) < 32 or one == "\x7f" for one in text)
    if rows is not None:
        assert [rows] == RowCutter(tokenizer, room, way)([text]).documents


@pytest.mark.parametrize("kind", ["tiny", "byte level"])
def test_rows_of_real_notes(kind: str, tiny_model: Model) -> None:
    tokenizer = tiny_model.tokenizer if kind == "tiny" else byte_level(False, False)
    with NOTES.open(encoding="utf-8") as file:
        texts = [row["note"] for row in csv.DictReader(file)]
    for way in (Head(), Windows(), HeadTail()):
        plain, cut = PlainRowCutter.of(tokenizer, 64, way, 9), RowCutter(tokenizer, 64, way)
        assert plain is not None
        found = [plain(text) for text in texts]
        expected = cut(texts).documents
        assert sum(own is not None for own in found) > len(texts) / 2
        assert all(own in (None, other) for own, other in zip(found, expected, strict=True))


def test_other_tokenizers_are_left_alone() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(WORDS, trainers.BpeTrainer(special_tokens=["[UNK]"]))
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    assert PlainRowCutter.of(other, 12, Head(), 9) is None
    byte_level(True, True).backend_tokenizer.model.dropout = 0.1
    try:
        assert PlainRowCutter.of(byte_level(True, True), 12, Head(), 9) is None
    finally:
        byte_level(True, True).backend_tokenizer.model.dropout = None
