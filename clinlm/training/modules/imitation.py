"""Modules with a teacher's network: its hidden states are imitated during training."""

import json
import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from clinlm.config.errors import ConfigError
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.modules.base import Module, Objective
from clinlm.training.optimizer import AdamW
from clinlm.training.ranks import own_share

log = logging.getLogger(__name__)
_NORMALIZATION = ("normalizer", "pre_tokenizer")
"""Parts of a tokenizer that act before its model splits a text into tokens."""


class Imitation(Module):
    """A module with an optional hidden-state loss against a teacher's network. Subclasses are final.

    The teacher's network runs during training only, without dropout or gradients. It is not saved in the checkpoint;
    the hidden-state loss is, with its projections.

    Args:
        hidden_state_loss: None for none.
        teacher: required with a hidden-state loss. The rest as `Module`.

    Raises:
        ConfigError: a hidden-state loss without a teacher; (before training) a teacher that reads other tokens or
            shorter rows, or whose layers cannot be compared.
    """

    @classmethod
    def imitates(cls, arguments: Mapping[str, Any]) -> bool:
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
            raise ConfigError(
                "hidden_state_loss needs a teacher with a network, got none; name a stage in `teachers`, or set "
                "hidden_state_loss=none"
            )
        self.hidden_state_loss = hidden_state_loss
        # In a list: a submodule would be saved in every checkpoint.
        self._teacher = [teacher] if hidden_state_loss is not None and teacher is not None else []

    @abstractmethod
    def own_loss(self, batch: Batch) -> Tensor:
        """Return the loss without the hidden-state loss; runs the network exactly once."""

    def read(self, batch: Batch) -> Batch:
        """Return the batch that student and teacher read in training."""
        return batch

    def prepare(self, body: nn.Module) -> None:
        if self.hidden_state_loss is None:
            return
        (teacher,) = self._teacher
        longest = min(self.model.max_tokens, self.task.max_tokens)
        if longest > teacher.max_tokens:
            raise ConfigError(
                f"rows must fit the teacher, which reads at most {teacher.max_tokens} tokens, got rows of up to "
                f"{longest}; set task.max_tokens={teacher.max_tokens}, or hidden_state_loss=none"
            )
        self.register_buffer("_numbers", same_tokens(self.model.tokenizer, teacher.tokenizer), persistent=False)
        self.hidden_state_loss.attach(body, teacher.network.body)
        teacher.network.eval().requires_grad_(False)
        shown = "; ".join(
            f"{part} {', '.join(f'{ours}<-{theirs}' for ours, theirs in pairs)}"
            for part, pairs in self.hidden_state_loss.pairs.items()
        )
        log.info("%s compares layers, student <- teacher: %s", type(self.hidden_state_loss).__name__, shown)

    def on_fit_start(self) -> None:
        """Move the teacher to the module's device, which is known by now (Lightning's hook)."""
        for teacher in self._teacher:
            teacher.network.to(self.device)

    @final
    def training_loss(self, batch: Batch) -> Tensor:
        batch = self.read(batch)
        if self.hidden_state_loss is None:
            return self.own_loss(batch)
        with self.hidden_state_loss.watching(teacher=False) as ours:
            loss = self.own_loss(batch)
        with self.hidden_state_loss.watching(teacher=True) as theirs:
            self._run_teacher(batch)
        imitated: Tensor = self.hidden_state_loss(ours, theirs, batch["attention_mask"]) * own_share(batch)
        self.log_loss("train/hidden_state_loss", imitated, batch)
        return loss + imitated

    @torch.no_grad()
    def _run_teacher(self, batch: Batch) -> None:
        (teacher,) = self._teacher
        numbers: Any = self._numbers
        teacher.network.body(input_ids=numbers[batch["input_ids"]], attention_mask=batch["attention_mask"])


def same_tokens(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase) -> Int[Tensor, " tokens"]:
    """Return the teacher's number of each token of the student, whose vocabulary is the teacher's or part of it.

    The teacher then reads a text as the student splits it: as it would itself, unless tokens of it were trimmed away.

    Raises:
        ConfigError: the student has tokens of its own, or normalizes text differently.
    """
    ours, theirs = student.get_vocab(), teacher.get_vocab()
    own = ours.keys() - theirs.keys()
    states = [json.loads(tokenizer.backend_tokenizer.to_str()) for tokenizer in (student, teacher)]
    kinds = [(state["model"]["type"], *(state[name] for name in _NORMALIZATION)) for state in states]
    if own or kinds[0] != kinds[1]:
        why = f"{len(own):,} of the student's {len(ours):,} tokens are not its teacher's"
        raise ConfigError(
            "hidden_state_loss compares token by token, so student and teacher must read the same tokens; "
            f"{why if own else 'they normalize text differently'}; set hidden_state_loss=none, or choose a student "
            "with its teacher's tokenizer, whole or trimmed (model@student=teacher_layers, tinybert, factorized)"
        )
    numbers = torch.zeros(max(ours.values()) + 1, dtype=torch.long)
    for token, number in ours.items():
        numbers[number] = theirs[token]
    return numbers
