"""What student and general distillation share: the teacher's network beside the student, and its hidden_state_loss."""

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.hidden_state_losses.same_tokens import same_tokens
from clinlm.training.modules.base import Module, Objective
from clinlm.training.optimizer import AdamW

log = logging.getLogger(__name__)


class Imitation(Module):
    """A module whose network imitates hidden_state_loss of its teacher's, where there are any. Subclasses are final.

    The teacher's network runs beside the student in training only, without dropout or gradients. It is no part of the
    checkpoint; the hidden_state_loss are, with what they learn.

    Args:
        hidden_state_loss: what is imitated; None for nothing.
        teacher: whose; needed where there are hidden_state_loss. The rest as `Module`.

    Raises:
        ValueError: a hidden-state loss without a teacher; (before training) a teacher that reads other tokens or
            shorter rows, or whose layers cannot be compared.
    """

    @classmethod
    def imitates(cls, arguments: Mapping[str, Any]) -> bool:
        """See `Module.imitates`."""
        return arguments.get("hidden_state_loss") is not None

    def __init__(
        self,
        model: Model,
        data: TaskData,
        adapter: Adapter,
        optimizer: AdamW,
        objective: Objective,
        hidden_state_loss: HiddenStateLoss | None,
        teacher: Model | None,
        seed: int,
    ) -> None:
        super().__init__(model, data, adapter, optimizer, objective, seed)
        if hidden_state_loss is not None and teacher is None:
            raise ValueError(
                "hidden_state_loss needs a teacher with a network, got none; name a stage in `teachers`, or set "
                "hidden_state_loss=none"
            )
        self.hidden_state_loss = hidden_state_loss
        # In a list: as a module of this one it would be in every checkpoint.
        self._teacher = [teacher] if hidden_state_loss is not None and teacher is not None else []

    @abstractmethod
    def own_loss(self, batch: Batch) -> Tensor:
        """Return the loss without that of the hidden_state_loss; asks the network exactly once."""

    def read(self, batch: Batch) -> Batch:
        """Return what student and teacher read in training, given a batch."""
        return batch

    def prepare(self, body: nn.Module) -> None:
        """See `Module.prepare`."""
        if self.hidden_state_loss is None:
            return
        (teacher,) = self._teacher
        longest = min(self.model.max_tokens, self.task.max_tokens)
        if longest > teacher.max_tokens:
            raise ValueError(
                f"rows must fit the teacher, which reads at most {teacher.max_tokens} tokens, got rows of up to "
                f"{longest}; set task.max_tokens={teacher.max_tokens}, or hidden_state_loss=none"
            )
        self.register_buffer("_numbers", same_tokens(self.model.tokenizer, teacher.tokenizer), persistent=False)
        self.hidden_state_loss.attach(body, teacher.network.body)
        teacher.network.eval().requires_grad_(False)
        shown = {
            part: [f"{ours}<-{theirs}" for ours, theirs in pairs]
            for part, pairs in self.hidden_state_loss.pairs.items()
        }
        told = "; ".join(f"{part} {', '.join(pairs)}" for part, pairs in shown.items())
        log.info("%s imitates, layer <- teacher's layer: %s", type(self.hidden_state_loss).__name__, told)

    def on_fit_start(self) -> None:
        """Lightning's hook: the module is on its device by now."""
        for teacher in self._teacher:
            teacher.network.to(self.device)

    @final
    def training_loss(self, batch: Batch) -> Tensor:
        """See `Module.training_loss`."""
        batch = self.read(batch)
        if self.hidden_state_loss is None:
            return self.own_loss(batch)
        with self.hidden_state_loss.watching(teacher=False) as ours:
            loss = self.own_loss(batch)
        with self.hidden_state_loss.watching(teacher=True) as theirs:
            self._ask_teacher(batch)
        imitated: Tensor = self.hidden_state_loss(ours, theirs, batch["attention_mask"])
        self.log("train/hidden_state_loss", imitated, on_step=False, on_epoch=True, batch_size=len(batch["index"]))
        return loss + imitated

    @torch.no_grad()
    def _ask_teacher(self, batch: Batch) -> None:
        (teacher,) = self._teacher
        numbers: Any = self._numbers
        teacher.network.body(input_ids=numbers[batch["input_ids"]], attention_mask=batch["attention_mask"])
