"""Base class of quantisation: select layers, measure their sensitivity, replace them, report the errors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import ClassVar, final

import torch
from torch import nn

from callbacks.base import Compression
from clinlm.compression.approximation import relative_error
from clinlm.compression.sensitivity import FloatLayer, layer_sensitivities, most_sensitive, quantizable_layers
from clinlm.config.errors import ModelError
from clinlm.config.ranges import check_at_least, check_list
from clinlm.models import structure
from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.models.size import stored_bytes
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import BitWidth


class Quantization(Compression, ABC):
    """Makes linear layers and embedding tables integer layers, by default after training.

    Subclasses are final and define `quantized`, `table` where tables become another layer than `Int8Embedding`, and
    `calibrate` if `quantized` needs the inputs of layers.

    Args:
        skip: endings of the dotted names of layers that stay float, for example `head` or `word_embeddings`.
        spare: how many more layers stay float: those whose quantisation alone raises the validation loss most. 0
            measures nothing.
        sensitivity_documents: validation documents, at most, to measure each layer on.
        seed: of the choice of documents.
    """

    technique: ClassVar[str] = "post_training_quantization"

    def __init__(
        self, skip: Sequence[str] = (), spare: int = 0, sensitivity_documents: int = 256, seed: int = 0
    ) -> None:
        check_list("quantize.skip", skip)
        check_at_least("quantize.spare", spare, 0)
        check_at_least("quantize.sensitivity_documents", sensitivity_documents, 1)
        self.skip, self.spare, self.sensitivity_documents, self.seed = list(skip), spare, sensitivity_documents, seed
        self._rows: list[BitWidth] = []

    @abstractmethod
    def quantized(self, name: str, linear: nn.Linear) -> IntegerLayer:
        """Return the integer layer that replaces a linear layer."""

    def table(self, table: nn.Embedding) -> IntegerLayer:
        """Return the integer layer that replaces an embedding table."""
        return Int8Embedding.from_float(table)

    def calibrate(self, module: Module, linears: Mapping[str, nn.Linear]) -> None:
        """Measure the inputs of layers, where `quantized` needs them."""

    def dry_run(self, model: Model) -> None:
        """Check what `finalize` needs: float weights, and layers with the names of `skip`."""
        structure.check_trainable(model.network)
        quantizable_layers(model.network, self.skip)

    @final
    def dry_finish(self, model: Model) -> None:
        """Put integers in, whatever their form: no later method takes them."""
        layers = quantizable_layers(model.network, self.skip)
        with torch.device("meta"):
            model.apply(Int8Linear.edit([name for name, layer in layers.items() if isinstance(layer, nn.Linear)]))
            model.apply(Int8Embedding.edit([name for name, layer in layers.items() if isinstance(layer, nn.Embedding)]))

    def prepare(self, module: Module) -> None:
        """Check early what `finalize` needs."""
        self.dry_run(module.model)

    def finalize(self, module: Module) -> None:
        layers = quantizable_layers(module.network, self.skip)
        self.calibrate(module, {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)})
        self.replace(module, self.select(module, layers))

    @final
    def report(self) -> MethodReport:
        """Return for every layer bytes before and after, relative error, sensitivity, and whether it is spared.

        `sensitivity` is the rise of the mean validation loss, or None if it was not measured.
        """
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        return f" (no layer is left with skip={self.skip} and spare={self.spare})"

    @final
    def select(self, module: Module, layers: Mapping[str, FloatLayer]) -> dict[str, FloatLayer]:
        """Return the layers to quantise: all, or those that are left after the most sensitive were spared."""
        made = self._integer_layers(layers)
        rises = layer_sensitivities(module, made, self.sensitivity_documents, self.seed) if self.spare else {}
        spared = most_sensitive(rises, self.spare)
        self._rows = [
            _row(name, layer, None if name in spared else made[name], rises.get(name)) for name, layer in layers.items()
        ]
        return {name: layer for name, layer in layers.items() if name not in spared}

    @final
    def replace(self, module: Module, layers: Mapping[str, FloatLayer]) -> None:
        """Replace `layers` by integer layers and update the report."""
        made = self._integer_layers(layers)
        forms = {name: (type(layer), layer.settings()) for name, layer in made.items()}
        # Linear layers first; one edit for all layers of the same form.
        ordered = sorted(forms, key=lambda name: not isinstance(layers[name], nn.Linear))
        for (kind, settings), names in groupby(ordered, forms.__getitem__):
            module.model.apply(kind.edit(list(names), **settings))
        for name, layer in made.items():
            module.network.get_submodule(name).load_state_dict(layer.state_dict())
        # Training may have changed the weights since the first rows were made.
        self._rows = [
            _row(row.layer, layers[row.layer], made[row.layer], row.sensitivity) if row.layer in made else row
            for row in self._rows
        ]

    def _integer_layers(self, layers: Mapping[str, FloatLayer]) -> dict[str, IntegerLayer]:
        wrong = [name for name, layer in layers.items() if not layer.weight.isfinite().all()]
        if wrong:
            raise ModelError(
                f"weights to quantise must be finite, got NaN or infinity in {wrong[0]}; train at a lower rate"
            )
        return {
            name: self.quantized(name, layer) if isinstance(layer, nn.Linear) else self.table(layer)
            for name, layer in layers.items()
        }


def _row(name: str, layer: FloatLayer, made: IntegerLayer | None, sensitivity: float | None) -> BitWidth:
    """Return the row of a layer that becomes `made`, or that is spared."""
    before = stored_bytes(layer)
    if made is None:
        return BitWidth(name, before, before, 0.0, spared=True, sensitivity=sensitivity)
    error = relative_error(layer.weight, made.dequantized())
    return BitWidth(
        name, before, stored_bytes(made), error, spared=False, sensitivity=sensitivity, half=made.bits == 16
    )
