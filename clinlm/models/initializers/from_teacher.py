"""A student made of some of its teacher's layers and hidden dimensions."""

import copy
from collections.abc import Sequence
from typing import final

import torch

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_interval
from clinlm.models import structure
from clinlm.models.initializers.base import TeacherInitializer
from clinlm.models.model import Edit, Model
from clinlm.tasks.base import Task


@final
class FromTeacher(TeacherInitializer):
    """The teacher's embeddings, pooling, head and chosen layers.

    Source: every second layer, Sanh et al. 2019 (DistilBERT), arXiv:1910.01108. A smaller hidden size keeps the
    dimensions with the largest weights and rescales the layers that read them, as Samragh et al. 2023, "Weight
    subcloning", arXiv:2312.09299.
    Departs: FFN units and heads are left to pruning methods. A factorised teacher keeps its width; a quantised teacher
    cannot be used, because its weights cannot learn.

    Args:
        layers: which layers, counted from 0; or how many, evenly spaced, including the first and the last.
        hidden_size: number of dimensions of the hidden state to keep; None for all.

    Raises:
        ConfigError: a setting out of range; (in `begin`) more layers or dimensions than the teacher has.
        ModelError: (in `begin`) a smaller hidden size for a factorised teacher, or integer weights.
    """

    def __init__(self, layers: int | Sequence[int] = 3, hidden_size: int | None = None) -> None:
        self.layers = layers if isinstance(layers, int) else list(layers)
        if not isinstance(self.layers, int) and (not self.layers or self.layers != sorted(set(self.layers))):
            raise ConfigError(
                f"student.layers must be a number, or different layers in ascending order, got {self.layers}"
            )
        self.hidden_size = hidden_size

    def begin(self, task: Task, teacher: Model | None) -> Model:
        model = self._shorter(self.require(teacher))
        if self.hidden_size is not None:
            _narrow(model, self.hidden_size)
        return model

    def sketch(self, teacher: Model | None) -> Model | None:
        if teacher is None:
            return None
        model = self._shorter(teacher)
        if self.hidden_size is not None:
            _check_width(self.hidden_size, structure.hidden_size(model.network.body))
            model.apply(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": list(range(self.hidden_size))}))
        return model

    def _shorter(self, teacher: Model) -> Model:
        """Return a copy of the teacher with the chosen layers."""
        model = Model(teacher.spec, copy.deepcopy(teacher.network), teacher.tokenizer, list(teacher.edits))
        total = len(structure.layers(model.network.body))
        if isinstance(self.layers, int):
            check_interval("student.layers", self.layers, f"[1, {total}]", "the teacher has no more layers")
        model.apply(Edit("clinlm.models.surgery.keep_layers", {"numbers": layer_numbers(self.layers, total)}))
        return model


def layer_numbers(layers: int | Sequence[int], total: int) -> list[int]:
    """Return the given layer numbers, or `layers` of `total` numbers, evenly spaced from the first to the last."""
    if not isinstance(layers, int):
        return list(layers)
    return sorted({round(x) for x in torch.linspace(0, total - 1, layers).tolist()}) if layers > 1 else [total - 1]


def _check_width(size: int, most: int) -> None:
    check_interval("student.hidden_size", size, f"[1, {most}]", "the teacher is no wider")


def _narrow(model: Model, size: int) -> None:
    # The mean absolute weight of every dimension, summed over all layers that write to the hidden state.
    importance = torch.stack([writer.detach().abs().mean(1) for writer in structure.writers(model.network.body)]).sum(0)
    old = len(importance)
    _check_width(size, old)
    kept = importance.argsort(descending=True, stable=True)[:size].sort().values
    model.apply(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": kept.tolist()}))
    with torch.no_grad():
        for layer in structure.layers(model.network.body):
            for reader in (*layer.by_head, *layer.by_unit):
                reader.weight.mul_((old / size) ** 0.5)  # keeps the standard deviation of a sum over fewer terms
        model.network.head.weight.mul_((old / size) ** 0.5)
