"""Base classes of initializers, and fresh heads."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast, final

import torch
from torch import nn
from transformers import PretrainedConfig

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_choice, check_interval
from clinlm.models.checkpoint_place import CheckpointPlace
from clinlm.models.model import Model, ModelSpec, Network, Pooling, PoolingName
from clinlm.tasks.base import Task

HeadBias = Literal["prior", "zero"]
# The origin of a configuration does not shape the network.
_NO_SHAPE = ("_name_or_path", "transformers_version", "architectures", "dtype", "id2label", "label2id", "problem_type")
_HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout")
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
"""Under their names in BERT-like models and in DistilBERT."""


class Initializer(ABC):
    """Makes the first weights of a model. Subclasses are final and hold only plain settings."""

    needs_teacher: ClassVar[bool] = False

    @abstractmethod
    def begin(self, task: Task, teacher: Model | None) -> Model:
        """Return a new model for `task`.

        Args:
            task: opened; has the number of outputs, the label frequencies and the training texts.
            teacher: first teacher of the stage, if any.
        """

    def sketch(self, teacher: Model | None) -> Model | None:
        """Return a model of the shapes that `begin` makes, whose tensors have no values; None if they are not known.

        Neither texts nor weights are read, so that the vocabulary and the number of outputs are made up.

        Args:
            teacher: a sketch; None if there is none, or it is not known.

        Raises:
            ConfigError, ModelError: as `begin`, as far as shapes say it.
        """
        return None

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies the weights beyond the settings: a digest of files, or a name with its revision."""

    @property
    def checkpoint(self) -> CheckpointPlace | None:
        """The checkpoint whose fingerprint `fingerprint` returns; None where it is the same for all files."""
        return None


def sketched(config: Mapping[str, Any]) -> Model:
    """Return a model of a transformers configuration whose tensors have shapes and no values (device `meta`)."""
    spec = ModelSpec(config, outputs=2)
    with torch.device("meta"):
        return Model(spec, spec.build(), cast(Any, None))


class TeacherInitializer(Initializer):
    """Makes the first weights of a student from its teacher."""

    needs_teacher = True

    @final
    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the stage's key includes that of the teacher."""
        return "teacher"

    def require(self, teacher: Model | None) -> Model:
        """Return the teacher.

        Raises:
            ConfigError: there is none.
        """
        if teacher is None:
            raise ConfigError(f"{type(self).__name__} needs a teacher, this stage has none; set its `teachers`")
        return teacher


def with_head(body: nn.Module, task: Task, pooling: PoolingName, dropout: float, head_bias: HeadBias) -> Network:
    """Return `body` with pooling and a fresh head.

    Args:
        task: has the number of outputs and the label frequencies.
        pooling: for tasks on documents; those on words have none.
        head_bias: `prior` starts at the label frequencies of the training split, so that no steps are spent on learning
            that most labels are absent; `zero` as transformers does.
    """
    check_choice("head_bias", head_bias, ("prior", "zero"))
    config: Any = body.config
    pooled = pooling_of(task, pooling, config.hidden_size)
    head = nn.Linear(pooled.parts * config.hidden_size, task.outputs)
    nn.init.normal_(head.weight, std=0.02)
    with torch.no_grad():
        head.bias.copy_(task.prior() if head_bias == "prior" else torch.zeros(task.outputs))
    return Network(body, pooled, head, dropout)


def pooling_of(task: Task, name: PoolingName, hidden_size: int) -> Pooling:
    """Return the pooling for a task: `name` for documents, `none` where every word gets a prediction."""
    return Pooling("none" if task.kind == "entities" else name, hidden_size, task.outputs)


def with_dropout(config: PretrainedConfig, hidden: float | None, attention: float | None) -> PretrainedConfig:
    """Return `config` with other dropout rates inside the encoder; None keeps the checkpoint's.

    Dropout on attention weights takes a third of a training step on a CPU: every weight of every head draws a random
    number, and transformers' fused attention is not used (docs/log.md, 2026-11-21).
    """
    for setting, names, value in (
        ("hidden_dropout", _HIDDEN_DROPOUT, hidden),
        ("attention_dropout", _ATTENTION_DROPOUT, attention),
    ):
        if value is not None:
            own = [name for name in names if hasattr(config, name)]
            if not own:
                raise ConfigError(f"{setting} must be null for {config.model_type}, got {value}: it has no such rate")
            setattr(config, own[0], value)
    return config


def check_rates(**rates: float | None) -> None:
    """Raise ConfigError unless every dropout rate is in [0, 1) or None."""
    for name, value in rates.items():
        if value is not None:
            check_interval(name, value, "[0, 1)")


def plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """Return a transformers configuration as JSON, without entries that do not shape the network."""
    return {name: value for name, value in config.to_diff_dict().items() if name not in _NO_SHAPE} | {
        "model_type": config.model_type
    }
