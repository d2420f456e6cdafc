"""What quantisation-aware methods share: the network trains on simulated integers, then they become real."""

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn
from torch.utils.hooks import RemovableHandle

from callbacks.quantize.base import EDITS, Floats, Quantization, quantizable_layers
from clinlm.compression.calibration import check_documents, input_ranges, input_scale, layer_range
from clinlm.compression.simulation import attach, detach, input_quantizer
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit
from clinlm.models.replace import check_unmasked
from clinlm.training.modules.base import Module


class QuantizationAware(Quantization, ABC):
    """Training in which weights and inputs are rounded as they will be. The objective is that of the stage's module.

    Weights are rounded to the levels of `StaticInt8Linear` and `Int8Embedding`; inputs to levels over a range that
    begins as calibration finds it, follows the batches, and is frozen at a share of the training. Exact zeros of linear
    weights stay zero.

    Args:
        epochs: how long, at least 1; where the stage itself sets `epochs`, that counts.
        learning_rate: peak, of the body; positive.
        head_learning_rate: peak, of the head; None for the body's.
        freeze_at: the share of the training after which ranges of inputs stay as they are, in [0, 1].
        documents: training documents from which the first ranges come, at least 1.
        skip, spare, sensitivity_documents, seed: see `Quantization`; what is spared is measured before training.
    """

    needs_training = True
    technique: ClassVar[str] = "quantization_aware_training"

    def __init__(
        self,
        epochs: int = 3,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
        freeze_at: float = 0.6,
        documents: int = 128,
        skip: Sequence[str] = (),
        spare: int = 0,
        sensitivity_documents: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(skip, spare, sensitivity_documents, seed)
        if epochs < 1:
            raise ValueError(f"quantize.epochs is at least 1; got {epochs}; quantize=static trains nothing")
        if not 0 <= freeze_at <= 1:
            raise ValueError(f"quantize.freeze_at is a share of the training, in [0, 1]; got {freeze_at}")
        check_documents(documents)
        self.epochs, self.freeze_at, self.documents = epochs, freeze_at, documents
        self.learning_rate, self.head_learning_rate = learning_rate, head_learning_rate
        self._levels: dict[str, tuple[float, int]] = {}
        self._layers: dict[str, Floats] = {}
        self._handles: list[RemovableHandle] = []

    @final
    def prepare(self, module: Module) -> None:
        """Measure what to spare, and begin to simulate.

        Raises:
            ValueError: the network is quantised already, or something else is to learn than its own weights.
        """
        structure.check_trainable(module.network)
        if not isinstance(module.adapter, Full):
            raise ValueError(
                "quantisation-aware training rounds the weights that learn; the adapter "
                f"{type(module.adapter).__name__} adds others, unrounded, to them; set adapter=full"
            )
        trainer = module.trainer
        if trainer.max_epochs == 0:
            trainer.fit_loop.max_epochs = self.epochs
        module.optimizer = module.optimizer.at(self.learning_rate, self.head_learning_rate)
        layers = quantizable_layers(module.network, self.skip)
        linears = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        for linear in linears.values():
            check_unmasked(linear)
        seen = input_ranges(module, linears, self.documents, self.seed)
        spans = {name: layer_range(one, None) for name, one in seen.items()}
        self._levels = {name: input_scale(*one) for name, one in spans.items()}
        self._layers = {name: layers[name] for name in self.judge(module, layers)}
        self._handles = attach(module.network, self._layers, spans)

    @final
    def step(self, module: Module, progress: float) -> None:
        """See `Compression.step`: freeze the ranges of inputs when it is time."""
        if progress >= self.freeze_at:
            for layer in self._layers.values():
                if isinstance(layer, nn.Linear):
                    input_quantizer(layer).frozen.fill_(True)

    @final
    def finalize(self, module: Module) -> None:
        """See `Compression.finalize`: what was simulated becomes real."""
        self._levels = detach(self._layers, self._handles)
        self.replace(module, self._layers)
        self._layers, self._handles = {}, []

    @final
    def edit(self, names: list[str]) -> Edit:
        """See `Quantization.edit`."""
        return Edit(f"{EDITS}.quantize_linears_static", {"names": names})

    @final
    def quantized(self, name: str, linear: nn.Linear) -> StaticInt8Linear:
        """See `Quantization.quantized`."""
        return StaticInt8Linear.of(linear, *self._levels[name])
