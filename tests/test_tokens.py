"""A checkpoint's tokenizer may truncate and pad by itself: what a model reads is decided here alone."""

import copy

import numpy as np

from clinlm.model import Model
from clinlm.task import Task, uncut


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
