"""The data of one stage: a task's documents, tokenized for one model, and their batches."""

from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch, Collate, LengthBatches, RankCollate, ordered_loader
from clinlm.tasks.transfer_set import TransferSet


@final
class TaskData(LightningDataModule):
    """Batches of a task for one model. The task itself stays as it is: stages do not influence each other.

    Args:
        task: opened.
        tokenizer: of the model.
        limit: the model's longest row, in tokens; the smaller of it and `task.max_tokens` counts.
        batch_size: training documents a step, on all devices together.
        seed: of the order of training documents.
        teacher_logits: row i for unit i of the task, then a row for every unit of the transfer set; None without a
            teacher.
        transfer: texts without labels that training reads besides the training documents; None for none.
        wide_logits: as `teacher_logits`, in place of the model's wide branch; None for none.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        limit: int,
        batch_size: int = 16,
        seed: int = 0,
        teacher_logits: Float[Tensor, "units outputs"] | None = None,
        transfer: TransferSet | None = None,
        wide_logits: Float[Tensor, "units outputs"] | None = None,
    ) -> None:
        super().__init__()
        self.task, self.batch_size, self.seed, self.transfer = task, batch_size, seed, transfer
        self.targets = torch.from_numpy(task.examples.targets)
        self.teacher_logits, self.wide_logits = teacher_logits, wide_logits
        self.tokenize(tokenizer, limit)

    def tokenize(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        """Tokenize all documents; called again by methods that replace the model's tokenizer."""
        self.encoded = self.task.encode(tokenizer, min(limit, self.task.max_tokens), self.transfer)
        self.collate = Collate(self.encoded, self.targets, self.teacher_logits, self.wide_logits)
        self._without_teacher = Collate(self.encoded, self.targets)

    def loader(self, documents: Int[np.ndarray, " chosen"], batch_size: int = 32) -> DataLoader[Any]:
        """Return one fixed pass over `documents`, shortest first, without teacher logits.

        Args:
            documents: their numbers; texts of the transfer set are numbered after all documents.
            batch_size: documents a batch.
        """
        return ordered_loader(self.encoded, documents, self._without_teacher, batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return training documents and texts of the transfer set, in batches of similar length (Lightning's hook)."""
        texts = np.arange(len(self.task.examples.frame), len(self.encoded))
        members = np.concatenate([self.task.examples.members("train"), texts])
        return ordered_loader(self.encoded, members, self._of_rank(self.collate), self.batch_size, self.seed)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return validation documents in a fixed order (Lightning's hook)."""
        members = self.task.examples.members("validation")
        return ordered_loader(self.encoded, members, self._of_rank(self._without_teacher))

    def _of_rank(self, collate: Collate) -> Collate | RankCollate:
        """Return what makes the batches of this process: of several, one for each device, its part of each."""
        if self.trainer is None or self.trainer.world_size == 1:
            return collate
        return RankCollate(collate, self.trainer.global_rank, self.trainer.world_size)

    def calibration(self, documents: int, seed: int = 0, batch_size: int = 8, teacher: bool = False) -> list[Batch]:
        """Return batches of randomly drawn training documents, for methods that look at activations or gradients.

        Args:
            documents: how many to draw; all if there are fewer.
            batch_size: documents a batch.
            teacher: whether batches hold the teacher's logits, where there are any.
        """
        collate = self.collate if teacher else self._without_teacher
        return [collate(batch) for batch in self.drawn(documents, seed, batch_size)]

    def drawn(self, documents: int, seed: int = 0, batch_size: int = 8) -> list[list[int]]:
        """Return the numbers of the documents of `calibration`, batch by batch."""
        members = self.task.examples.members("train")
        chosen = np.sort(np.random.default_rng(seed).permutation(members)[:documents])
        return list(LengthBatches(chosen, self.encoded.lengths()[chosen], batch_size, seed=None))
