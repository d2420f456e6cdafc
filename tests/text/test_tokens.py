"""A checkpoint's tokenizer may truncate and pad by itself: what a model reads is decided here alone."""

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from clinlm.corpora.table import Table
from clinlm.models.model import Model
from clinlm.tasks.base import Task
from clinlm.tasks.multilabel import MultiLabel
from clinlm.terminology.lexicon import MASK
from clinlm.text.long_notes import Head
from clinlm.text.tokens import uncut


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
    path.write_text("text,labels\n" + "".join(f"the patient has {MASK} {n} times,a\n" for n in range(9)), "utf-8")
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
