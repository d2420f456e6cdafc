"""A student cut out of its teacher: some of its layers, all or some of its hidden dimensions."""

import copy
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from clinlm.models import structure
from clinlm.models.initializers.base import Initializer
from clinlm.models.model import Edit, Model, Network
from clinlm.tasks.base import Task


@final
class FromTeacher(Initializer):
    """The teacher's embeddings, pooling and head, and chosen layers of it.

    Source: every second layer, Sanh et al. 2019 (DistilBERT), arXiv:1910.01108. A smaller hidden size keeps the
    dimensions whose weights are largest and scales what reads them, as Samragh et al. 2023, "Weight subcloning",
    arXiv:2312.09299.
    Departs: FFN units and heads are left alone here; pruning methods cut them. A factorised teacher keeps its width,
    and an INT8 one has no student: its weights cannot learn.

    Args:
        layers: which layers, counted from 0, or how many, spread evenly with the first and the last among them.
        hidden_size: how many dimensions of the hidden state stay; None for all.

    Raises:
        ValueError: (on beginning) no teacher, more layers or dimensions than it has, a smaller hidden size than a
            factorised one has, integer weights.
    """

    needs_teacher = True

    def __init__(self, layers: int | Sequence[int] = 3, hidden_size: int | None = None) -> None:
        self.layers = layers if isinstance(layers, int) else list(layers)
        if not isinstance(self.layers, int) and (not self.layers or self.layers != sorted(set(self.layers))):
            raise ValueError(
                f"student.layers is a number, or a list of different layers in ascending order; got {self.layers}"
            )
        self.hidden_size = hidden_size

    def begin(self, task: Task, teacher: Model | None) -> Model:
        """See `Initializer.begin`."""
        if teacher is None:
            raise ValueError(
                "a student cut out of its teacher needs one; this stage has no teacher; set its `teachers`"
            )
        model = Model(teacher.spec, copy.deepcopy(teacher.network), teacher.tokenizer, list(teacher.edits))
        total = len(structure.layers(model.network.body))
        if isinstance(self.layers, int) and not 1 <= self.layers <= total:
            raise ValueError(f"student.layers is 1 to {total}, the layers of the teacher; got {self.layers}")
        model.apply(Edit("clinlm.models.surgery.keep_layers", {"numbers": layer_numbers(self.layers, total)}))
        if self.hidden_size is not None:
            _narrow(model, self.hidden_size)
        return model

    def fingerprint(self) -> str:
        """See `Initializer.fingerprint`: the teacher's key is in the stage's key already."""
        return "teacher"


def layer_numbers(layers: int | Sequence[int], total: int) -> list[int]:
    """Return layer numbers: those given, or `layers` of `total` spread evenly, first and last included."""
    if not isinstance(layers, int):
        return list(layers)
    return sorted({round(x) for x in torch.linspace(0, total - 1, layers).tolist()}) if layers > 1 else [total - 1]


def _narrow(model: Model, size: int) -> None:
    importance = _importance(model.network)
    old = len(importance)
    if not 1 <= size <= old:
        raise ValueError(f"student.hidden_size is 1 to {old}, the width of the teacher; got {size}")
    kept = importance.topk(size).indices.sort().values
    model.apply(Edit("clinlm.models.surgery.keep_hidden", {"dimensions": kept.tolist()}))
    with torch.no_grad():
        for layer in structure.layers(model.network.body):
            for reader in (layer.query, layer.key, layer.value, layer.up):
                reader.weight.mul_((old / size) ** 0.5)  # a sum over fewer terms keeps its spread
        model.network.head.weight.mul_((old / size) ** 0.5)


def _importance(network: Network) -> Float[Tensor, " hidden"]:
    """Sum, over all that writes to the hidden state, the absolute weights of every dimension."""
    return torch.stack([writer.detach().abs().mean(1) for writer in structure.writers(network.body)]).sum(0)
