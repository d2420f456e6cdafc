"""Laws of the curriculum by length: what is cut, in which epochs, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from support.pipelines import built, kept
from torch import Tensor

from callbacks.short_rows import ShortRows
from clinlm.config.errors import ConfigError
from clinlm.models.model import Model
from clinlm.tasks.multilabel import MultiLabel


class Widths(Callback):
    """Remember how wide the widest batch of every epoch was."""

    def __init__(self) -> None:
        self.widest: dict[int, int] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        own = self.widest.get(trainer.current_epoch, 0)
        self.widest[trainer.current_epoch] = max(own, batch["input_ids"].shape[1])


def cut(tokens: list[int], epoch: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    given = dict(batch)
    ShortRows(tokens).on_train_batch_start(SimpleNamespace(current_epoch=epoch), None, given, 0)  # type: ignore[arg-type]
    return given


def test_a_row_keeps_its_first_tokens_and_its_last() -> None:
    """Rows of 2 to 12 tokens, whose last is 99: cut to 5, each begins as before and ends with 99."""
    lengths = range(2, 13)
    mask = torch.tensor([[1] * length + [0] * (12 - length) for length in lengths])
    ids = torch.tensor([[*range(1, length), 99] + [0] * (12 - length) for length in lengths])
    given = {"input_ids": ids.clone(), "attention_mask": mask}
    found = cut([5, 8], 0, given)
    assert torch.equal(given["input_ids"], ids)  # what others hold of the batch stays
    for length, row, seen in zip(lengths, found["input_ids"], found["attention_mask"], strict=True):
        own = row[seen.bool()].tolist()
        assert own == [*range(1, min(length, 5)), 99]
    assert cut([5, 8], 1, given)["input_ids"].shape[1] == 8
    assert cut([5, 8], 2, given)["input_ids"] is given["input_ids"]


@pytest.mark.parametrize("tokens", [[], [128, 64], [2]])
def test_lengths_are_refused_that_no_row_can_have(tokens: list[int]) -> None:
    with pytest.raises(ConfigError, match="ascending"):
        ShortRows(tokens)


def test_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="units are words"):
        cut([5], 0, {"input_ids": torch.ones(1, 9), "attention_mask": torch.ones(1, 9), "place": torch.zeros(1)})


@pytest.mark.usefixtures("quick")
def test_training_reads_short_rows_first(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    widths = Widths()
    callbacks = {"short_rows": ShortRows([4, 6]), "widths": widths}
    built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), callbacks, epochs=3)
    assert widths.widest[0] == 4 and widths.widest[1] == 6 and widths.widest[2] > 6
