"""What every start promises, and how a fresh head begins."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers import PretrainedConfig

from clinlm.model import Model, Network, Pooling, PoolingName
from clinlm.task import Task

HeadBias = Literal["prior", "zero"]
# Where a configuration came from is no part of what a network is.
_NO_SHAPE = ("_name_or_path", "transformers_version", "architectures", "dtype", "id2label", "label2id", "problem_type")


class Start(ABC):
    """A source of first weights. Subclasses are final and hold plain settings only."""

    needs_teacher: ClassVar[bool] = False

    @abstractmethod
    def begin(self, task: Task, teacher: Model | None) -> Model:
        """Return a new model for `task`.

        Args:
            task: opened; gives the number of outputs, the label frequencies and the training texts.
            teacher: the stage's first teacher, where it has one.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies the weights beyond the settings: a digest of files, or a name with its revision."""


def with_head(body: nn.Module, task: Task, pooling: PoolingName, dropout: float, head_bias: HeadBias) -> Network:
    """Return `body` with pooling and a fresh head.

    Args:
        head_bias: `prior` begins at the label frequencies of the training split, which saves the first steps from
            learning that most labels are absent; `zero` as transformers does.
    """
    if head_bias not in ("prior", "zero"):
        raise ValueError(f"head_bias is prior or zero; got {head_bias!r}")
    config: Any = body.config
    hidden: int = config.hidden_size
    head = nn.Linear(hidden, task.outputs)
    nn.init.normal_(head.weight, std=0.02)
    with torch.no_grad():
        head.bias.copy_(task.prior() if head_bias == "prior" else torch.zeros(task.outputs))
    return Network(body, Pooling(pooling, hidden), head, dropout)


def plain(config: PretrainedConfig) -> dict[str, Any]:
    """Return a transformers configuration as JSON, without what does not shape the network."""
    return {name: value for name, value in config.to_diff_dict().items() if name not in _NO_SHAPE} | {
        "model_type": config.model_type
    }
