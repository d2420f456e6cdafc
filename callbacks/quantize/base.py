"""What every quantisation does: choose layers, measure which suffer, put integers in their place, tell the errors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, TypeGuard, final

import torch
from torch import Tensor, nn

from callbacks.base import Compression
from clinlm.compression.sensitivity import layer_sensitivities, most_sensitive
from clinlm.models import structure
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import BitWidth

Floats = nn.Linear | nn.Embedding
Integers = Int8Linear | StaticInt8Linear | Int4Linear | Int8Embedding
EDITS = "clinlm.models.layers.edits"


class Quantization(Compression, ABC):
    """Linear layers and embedding tables become integers. A subclass is final and says which integers, and when.

    Args:
        skip: endings of the dotted names of layers that stay in float, for example `head` or `word_embeddings`.
        spare: how many more stay in float: those with which the loss on validation documents rises most when they alone
            are quantised. 0 measures nothing.
        sensitivity_documents: at most so many validation documents are read for every layer.
        seed: of the choice of documents.
    """

    technique: ClassVar[str] = "post_training_quantization"

    def __init__(
        self, skip: Sequence[str] = (), spare: int = 0, sensitivity_documents: int = 256, seed: int = 0
    ) -> None:
        if isinstance(skip, str):
            raise ValueError(f"quantize.skip is a list of names of layers; got {skip!r}")
        if spare < 0:
            raise ValueError(f"quantize.spare is a number of layers, at least 0; got {spare}")
        if sensitivity_documents < 1:
            raise ValueError(f"quantize.sensitivity_documents is at least 1; got {sensitivity_documents}")
        self.skip, self.spare, self.sensitivity_documents, self.seed = list(skip), spare, sensitivity_documents, seed
        self._rows: list[BitWidth] = []

    @abstractmethod
    def edit(self, names: list[str]) -> Edit:
        """Return what replaces the linear layers `names`."""

    @abstractmethod
    def quantized(self, name: str, linear: nn.Linear) -> Integers:
        """Return the layer that takes the place of a linear one."""

    @final
    def report(self) -> MethodReport:
        """Return every layer: bytes before and after, relative error of its weight, sensitivity, whether it is spared.

        `sensitivity` is the rise of the mean validation loss, or None where none was measured.
        """
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        return f" (no layer is left beside skip={self.skip} and spare={self.spare})"

    @final
    def integers(self, layers: Mapping[str, Floats]) -> dict[str, Integers]:
        """Return what takes the place of every layer.

        Raises:
            ValueError: a weight is no finite number.
        """
        wrong = [name for name, layer in layers.items() if not layer.weight.isfinite().all()]
        if wrong:
            raise ValueError(
                f"only finite weights are quantised; {wrong[0]} has others; training diverged: lower its rate"
            )
        return {
            name: self.quantized(name, layer) if isinstance(layer, nn.Linear) else Int8Embedding.of(layer)
            for name, layer in layers.items()
        }

    @final
    def judge(self, module: Module, layers: Mapping[str, Floats]) -> list[str]:
        """Measure, if some are to be spared, what every layer costs; return those that become integers."""
        made = self.integers(layers)
        rises: dict[str, float] = {}
        if self.spare:
            rises = layer_sensitivities(module, made, self.sensitivity_documents, self.seed)
        spared = most_sensitive(rises, self.spare)
        self._rows = [
            _row(name, layer, None if name in spared else made[name], rises.get(name)) for name, layer in layers.items()
        ]
        return [name for name in layers if name not in spared]

    @final
    def replace(self, module: Module, layers: Mapping[str, Floats]) -> None:
        """Put layers of integers in the place of `layers`, with their values; the report tells their errors."""
        made = self.integers(layers)
        tables = [name for name, layer in layers.items() if isinstance(layer, nn.Embedding)]
        linears = [name for name in layers if name not in tables]
        if linears:
            module.model.apply(self.edit(linears))
        if tables:
            module.model.apply(Edit(f"{EDITS}.quantize_embeddings", {"names": tables}))
        for name, layer in made.items():
            module.network.get_submodule(name).load_state_dict(layer.state_dict())
        # Training, where there was any, changed the weights that the first rows were made of.
        self._rows = [
            _row(row.layer, layers[row.layer], made[row.layer], row.sensitivity) if row.layer in made else row
            for row in self._rows
        ]


class PostTraining(Quantization, ABC):
    """Quantisation after training, in one go. Arguments: see `Quantization`."""

    @final
    def prepare(self, module: Module) -> None:
        """Refuse early what `finalize` could not do: a network that is quantised already, names that are not there."""
        structure.check_trainable(module.network)
        quantizable_layers(module.network, self.skip)

    @final
    def finalize(self, module: Module) -> None:
        """See `Compression.finalize`."""
        layers = quantizable_layers(module.network, self.skip)
        self.calibrate(module, {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)})
        names = self.judge(module, layers)
        self.replace(module, {name: layers[name] for name in names})

    def calibrate(self, module: Module, linears: Mapping[str, nn.Linear]) -> None:
        """Look at documents, if `quantized` needs to know what the layers read."""


def quantizable_layers(network: nn.Module, skip: Sequence[str]) -> dict[str, Floats]:
    """Return all linear layers and embedding tables by name, but for those that end in one of `skip`.

    Tables of a single column are left out.

    Raises:
        ValueError: none of them ends in one of `skip`.
    """
    layers = {name: module for name, module in network.named_modules() if _shrinks(module)}
    unknown = [ending for ending in skip if not any(_ends(name, ending) for name in layers)]
    if unknown:
        raise ValueError(
            f"quantize.skip names linear layers and embedding tables; none ends in {unknown}; there are endings "
            f"{sorted({name.rpartition('.')[2] for name in layers})}"
        )
    return {name: layer for name, layer in layers.items() if not any(_ends(name, ending) for ending in skip)}


def _shrinks(module: nn.Module) -> TypeGuard[Floats]:
    """Whether integers are smaller: a table of one column (a weight for every token) would grow by its scales."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and module.embedding_dim > 1)


def _ends(name: str, ending: str) -> bool:
    return f".{name}".endswith(f".{ending}")


@torch.no_grad()
def _row(name: str, layer: Floats, made: Integers | None, sensitivity: float | None) -> BitWidth:
    """The row of a layer that becomes `made`, or of one that is spared."""
    before, error = _bytes(layer.parameters()), 0.0
    if made is not None:
        weight = layer.weight.double()
        error = float((weight - made.dequantized().double()).norm() / weight.norm().clamp_min(1e-300))
        assert math.isfinite(error)
    after = before if made is None else _bytes(made.state_dict().values())
    return BitWidth(name, before, after, error, made is None, sensitivity)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
