"""Shorter rows in the first epochs."""

from collections.abc import Sequence
from typing import Any, final

import torch
from lightning import Callback, LightningModule, Trainer

from clinlm.config.errors import ConfigError


@final
class ShortRows(Callback):
    """Read only the first tokens of every row in the first epochs: a curriculum by length.

    A step costs about as much as its rows are long. A row that is cut keeps its last token, which ends it. Sources:
    Press et al. 2021, "Shortformer", section 4; Li et al. 2022, "Sequence length warmup". Both let rows grow by steps;
    here they grow by epochs, and targets, labels or a teacher's logits, stay those of the whole row.

    Args:
        tokens: longest row of the first epoch, the second, and so on, ascending, at least 3; later epochs read whole
            rows.

    Raises:
        ConfigError: `tokens` is none of that, or units are words: of those behind a cut nothing could be learned.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        if not tokens or list(tokens) != sorted(tokens) or min(tokens) < 3:
            raise ConfigError(
                f"training.short_rows.tokens must be the longest rows of the first epochs, ascending, each at least 3, "
                f"such as [64, 128], got {list(tokens)}"
            )
        self.tokens = tuple(tokens)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Lightning's hook; the batch is the one that `training_step` gets."""
        if "place" in batch:
            raise ConfigError("training.short_rows needs a task of documents, but units are words; leave it out")
        if trainer.current_epoch >= len(self.tokens):
            return
        width = self.tokens[trainer.current_epoch]
        ids, mask = batch["input_ids"], batch["attention_mask"]
        if ids.shape[1] <= width:
            return
        rows = torch.arange(len(ids), device=ids.device)
        ends = ids[rows, mask.sum(1) - 1]
        last = mask[:, :width].sum(1) - 1
        batch["input_ids"], batch["attention_mask"] = ids[:, :width].clone(), mask[:, :width]
        batch["input_ids"][rows, last] = ends
