"""A checkpoint's tokenizer may truncate and pad by itself: what a model reads is decided here alone."""

import copy
import csv
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from clinlm.corpora.table import Table
from clinlm.models.model import Model
from clinlm.tasks.base import Task
from clinlm.tasks.multilabel import MultiLabel
from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import Head, HeadTail, LongNotes, Windows
from clinlm.text.tokens import RowCutter, before_space, splits_at_space, uncut


def test_padding_and_truncation_of_a_checkpoint_are_not_read(task: Task, tiny_model: Model) -> None:
    plain = task.encode(tiny_model.tokenizer, 32)
    awkward = copy.deepcopy(tiny_model.tokenizer)
    awkward.backend_tokenizer.enable_truncation(8)
    awkward.backend_tokenizer.enable_padding(length=8, pad_id=int(awkward.pad_token_id))
    same = task.encode(awkward, 32)
    assert np.array_equal(same.tokens, plain.tokens) and np.array_equal(same.row_start, plain.row_start)
    assert not (same.tokens == awkward.pad_token_id).any()
    assert len(np.unique(same.lengths())) > 3, "rows are as long as their notes"


def test_the_tokenizer_itself_is_left_as_it_was(tiny_model: Model) -> None:
    awkward = copy.deepcopy(tiny_model.tokenizer)
    awkward.backend_tokenizer.enable_truncation(8)
    before = awkward.backend_tokenizer.to_str()
    assert len(uncut(awkward).encode("one two three four five six seven eight nine ten").ids) > 8
    assert awkward.backend_tokenizer.to_str() == before


@pytest.fixture
def masked(tmp_path: Path) -> Task:
    """A task of notes with a masked word each."""
    path = tmp_path / "notes.csv"
    path.write_text(
        "text,labels\n" + "".join(f"the patient has {MASK} {n} times,{'ab'[n % 2]}\n" for n in range(20)), "utf-8"
    )
    task = MultiLabel(partial(Table, text="text", labels="labels", delimiter=";"), str(path), Head(), max_tokens=32)
    task.open(tmp_path / "store", "key")
    return task


def test_a_masked_word_is_read_as_the_mask_token(masked: Task, tiny_model: Model) -> None:
    encoded = masked.encode(tiny_model.tokenizer, 32)
    mask = tiny_model.tokenizer.mask_token_id
    for document in range(9):
        (row,) = encoded.rows(document)
        assert (row == mask).sum() == 1


def test_masked_words_need_a_mask_token(masked: Task, tiny_model: Model) -> None:
    without = copy.deepcopy(tiny_model.tokenizer)
    without.mask_token = None
    with pytest.raises(ValueError, match="must have a mask token .* this one has none"):
        masked.encode(without, 31)


NOTES = ["No fever. Denies chest pain, cough or chills; BP 120/80. Naïve à l’aspirine."] * 20
SPLITTERS = {
    "bert": (models.WordPiece, normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
    "bytes": (models.BPE, normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "metaspace": (models.BPE, normalizers.NFKC(), pre_tokenizers.Metaspace()),
    "whole": (models.BPE, None, pre_tokenizers.Metaspace(split=False)),
}
"""The kinds of tokenizers that clinical encoders have, and one that reads a text as a single word."""


@cache
def trained(kind: str) -> PreTrainedTokenizerFast:
    model, normalizer, splitter = SPLITTERS[kind]
    tokenizer = Tokenizer(model(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    kinds = {models.WordPiece: trainers.WordPieceTrainer, models.BPE: trainers.BpeTrainer}
    tokenizer.train_from_iterator(NOTES, kinds[model](vocab_size=120, special_tokens=["[PAD]", "[UNK]", "[MASK]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token="[MASK]")


TEXTS = st.lists(
    st.one_of(st.sampled_from([*NOTES[0].split(), " ", "\n", "  ", "\t", "\x1c", "\u00a0", "\u0301", MASK]), st.text()),
    max_size=40,
).map("".join)


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("kind", SPLITTERS)
@given(text=TEXTS, room=st.integers(1, 12), way=st.sampled_from([Head(), Windows(most=2), HeadTail()]))
def test_a_prefix_has_the_rows_of_the_whole_note(
    kind: str, by_word: bool, text: str, room: int, way: LongNotes
) -> None:
    """What is read of a note does not depend on how much of it was tokenised."""
    tokenizer = trained(kind)
    cutter = RowCutter(tokenizer, room, way, by_word)
    whole = RowCutter(tokenizer, room, way, by_word)
    whole._read = None
    found, expected = cutter([text, NOTES[0]]), whole([text, NOTES[0]])
    assert found.documents == expected.documents and found.cut == expected.cut
    for own, other in zip(found.places or [], expected.places or [], strict=True):
        assert np.array_equal(own, other)


@pytest.mark.parametrize("by_word", [False, True])
def test_a_prefix_has_the_rows_of_every_note_in_the_docs(by_word: bool, tiny_model: Model) -> None:
    with (Path(__file__).parents[2] / "docs" / "notes.csv").open(encoding="utf-8") as file:
        texts = [row["note"] for row in csv.DictReader(file)][::4]
    for way in (Head(), Windows(most=2)):
        cutter, whole = (RowCutter(tiny_model.tokenizer, 48, way, by_word) for _ in range(2))
        whole._read = None
        found, expected = cutter(texts), whole(texts)
        assert cutter._read is not None and found.documents == expected.documents and found.cut == expected.cut > 0
        for own, other in zip(found.places or [], expected.places or [], strict=True):
            assert np.array_equal(own, other)


def test_only_tokenizers_that_split_at_spaces_read_a_prefix() -> None:
    assert {kind: splits_at_space(uncut(trained(kind))) for kind in SPLITTERS} == {
        "bert": True,
        "bytes": True,
        "metaspace": True,
        "whole": False,
    }
    several = copy.deepcopy(trained("bert"))
    several.add_tokens(["chest pain"])
    assert not splits_at_space(uncut(several))


@pytest.mark.parametrize("kind", ["bert", "bytes", "metaspace"])
def test_a_text_without_spaces_is_read_from_its_beginning(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are those of the whole text, of which the tokenizer gets a part."""
    monkeypatch.setattr("clinlm.text.tokens.WORD_LIMIT", 2_000)
    random, longest = Random(0), 0
    junk = "".join(random.choices("abcdefghij;", k=40_000))
    for text in (junk, "fever " * 3 + junk, ";" * 40_000):
        for way in (Head(), Windows(most=2)):
            cutter, whole = (RowCutter(trained(kind), 48, way) for _ in range(2))
            whole._read = None
            assert cutter([text]).documents == whole([text]).documents
            longest = max(longest, len(cutter._encode([text])[0].ids))
    assert longest < 20_000


def test_a_prefix_ends_before_a_space() -> None:
    assert [before_space("one two  three", length) for length in (2, 3, 4, 7, 8, 9, 13, 14)] == [
        *("one", "one", "one", "one two", "one two", "one two", "one two", "one two  three")
    ]
