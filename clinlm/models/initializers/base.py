"""What every start promises, and how a fresh head begins."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers import PretrainedConfig

from clinlm.models.model import Model, Network, Pooling, PoolingName
from clinlm.tasks.base import Task

HeadBias = Literal["prior", "zero"]
# Where a configuration came from is no part of what a network is.
_NO_SHAPE = ("_name_or_path", "transformers_version", "architectures", "dtype", "id2label", "label2id", "problem_type")
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
"""Under their names in BERT-like models and in DistilBERT."""


class Initializer(ABC):
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
        pooling: of a task on documents; one on words has none.
        head_bias: `prior` begins at the label frequencies of the training split, which saves the first steps from
            learning that most labels are absent; `zero` as transformers does.
    """
    if head_bias not in ("prior", "zero"):
        raise ValueError(f"head_bias is prior or zero; got {head_bias!r}")
    config: Any = body.config
    pooled = pooling_of(task, pooling, config.hidden_size)
    head = nn.Linear(pooled.parts * config.hidden_size, task.outputs)
    nn.init.normal_(head.weight, std=0.02)
    with torch.no_grad():
        head.bias.copy_(task.prior() if head_bias == "prior" else torch.zeros(task.outputs))
    return Network(body, pooled, head, dropout)


def pooling_of(task: Task, name: PoolingName, hidden_size: int) -> Pooling:
    """Return the pooling that a task needs: `name`; none at all where every word is answered for."""
    return Pooling("none" if task.kind == "entities" else name, hidden_size)


def with_dropout(config: PretrainedConfig, hidden: float | None, attention: float | None) -> PretrainedConfig:
    """Return `config` with other dropout rates inside the encoder; None keeps the checkpoint's.

    Dropout on attention weights is worth a choice: on a CPU it costs a third of a training step, as every weight of
    every head draws a random number and transformers' fused attention does without (docs/log.md, 2026-11-21).
    """
    for names, value in ((_HIDDEN_DROPOUT, hidden), (_ATTENTION_DROPOUT, attention)):
        if value is not None:
            setattr(config, next(name for name in names if hasattr(config, name)), value)
    return config


def check_rates(**rates: float | None) -> None:
    """Raise ValueError unless every dropout rate is in [0, 1) or None."""
    for name, value in rates.items():
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"{name} is a share in [0, 1); got {value}")


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """Return a transformers configuration as JSON, without what does not shape the network."""
    return {name: value for name, value in config.to_diff_dict().items() if name not in _NO_SHAPE} | {
        "model_type": config.model_type
    }
