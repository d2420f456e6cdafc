"""Quantisation-aware training: simulated integers while the network trains, real ones afterwards."""

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn
from torch.utils.hooks import RemovableHandle

from callbacks.quantize.base import Quantization
from clinlm.compression.calibration import input_ranges, input_scale, layer_range
from clinlm.compression.sensitivity import FloatLayer, quantizable_layers
from clinlm.compression.simulation import attach, detach, input_quantizer
from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least, check_interval
from clinlm.models import structure
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Model
from clinlm.models.surgery import check_unmasked
from clinlm.training.modules.base import Module


@final
class Qat(Quantization):
    """Train with weights, embeddings and inputs rounded as after quantisation, then make them INT8.

    Weights are rounded to the levels of `StaticInt8Linear` and `Int8Embedding`; inputs to levels over a range that
    starts from calibration, follows the batches, and is frozen after a share of the training. Exact zeros of linear
    weights stay zero. The objective is that of the stage's module.

    Source    "clinical edge deployment" (fake quantisation in training, observers frozen after 60 % of the epochs);
              Jacob et al. 2018, "Quantization and training of neural networks", arXiv:1712.05877, section 3; Bengio et
              al. 2013, arXiv:1308.3432 (gradients).
    Changes   every linear layer and embedding table except `skip` and `spare`: weights learn and become integers.
    Needs     `documents` training documents for the first input ranges.
    Cost      `epochs` of training, each a little slower than in float; with `spare`, one pass over validation documents
              per layer. The resulting model runs on CPUs only.
    Departs   input ranges start from calibration, not from the first batch. Operations between linear layers stay
              float, and nothing is folded: a BERT has no batch norms.
    Clashes   adapters that wrap layers (`full`, `bitfit` and `last_layers` do not); masks of the same stage. Must
              come last: integers can be neither trained nor pruned.

    Args:
        epochs: number of epochs, at least 1, unless the stage sets `epochs`.
        learning_rate: peak, of the body; positive.
        head_learning_rate: peak, of the head; None for the body's.
        freeze_at: share of the training after which input ranges are frozen, in [0, 1].
        documents: training documents for the first ranges, at least 1.
        skip, spare, sensitivity_documents, seed: see `Quantization`; sensitivity is measured before training.
    """

    needs_training = True
    needs_plain_layers = True
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
            raise ConfigError(f"quantize.epochs must be >= 1, got {epochs}; to train nothing use quantize=static")
        check_interval("quantize.freeze_at", freeze_at, "[0, 1]")
        check_at_least("quantize.documents", documents, 1)
        self.epochs, self.freeze_at, self.documents = epochs, freeze_at, documents
        self.learning_rate, self.head_learning_rate = learning_rate, head_learning_rate
        self._levels: dict[str, tuple[float, int]] = {}
        self._layers: dict[str, FloatLayer] = {}
        self._handles: list[RemovableHandle] = []

    def dry_run(self, model: Model) -> None:
        super().dry_run(model)
        for layer in quantizable_layers(model.network, self.skip).values():
            check_unmasked(layer)

    def prepare(self, module: Module) -> None:
        """Measure sensitivities and start the simulation.

        Raises:
            ModelError: the network has integer weights or masks.
        """
        structure.check_trainable(module.network)
        trainer = module.trainer
        if trainer.max_epochs == 0:
            trainer.fit_loop.max_epochs = self.epochs
        module.optimizer = module.optimizer.at(self.learning_rate, self.head_learning_rate)
        layers = quantizable_layers(module.network, self.skip)
        linears = {name: layer for name, layer in layers.items() if isinstance(layer, nn.Linear)}
        for linear in linears.values():
            check_unmasked(linear)
        seen = input_ranges(module, linears, self.documents, self.seed)
        spans = {name: layer_range(found, None) for name, found in seen.items()}
        self._levels = {name: input_scale(*span) for name, span in spans.items()}
        self._layers = self.select(module, layers)
        self._handles = attach(module.network, self._layers, spans)

    def step(self, module: Module, progress: float) -> None:
        if progress >= self.freeze_at:
            for layer in self._layers.values():
                if isinstance(layer, nn.Linear):
                    input_quantizer(layer).frozen.fill_(True)

    def finalize(self, module: Module) -> None:
        self._levels = detach(self._layers, self._handles)
        self.replace(module, self._layers)
        self._layers, self._handles = {}, []

    def quantized(self, name: str, linear: nn.Linear) -> StaticInt8Linear:
        return StaticInt8Linear.calibrated(linear, *self._levels[name])
