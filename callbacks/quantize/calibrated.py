"""What quantisations with calibrated inputs share: the levels of every linear layer's inputs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.quantize.base import EDITS, PostTraining
from clinlm.compression.calibration import (
    Range,
    check_documents,
    input_histograms,
    input_ranges,
    input_scale,
    layer_range,
)
from clinlm.compression.observers import Observer, check_observer, observe_range
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module

Factors = dict[str, Float[Tensor, " inputs"]]


class Calibrated(PostTraining, ABC):
    """Quantisation after training, with levels of inputs that are fixed by reading training documents.

    Args:
        documents: training documents, drawn at random, at least 1. Padding does not count.
        observer: which range of the inputs their levels cover: `minmax` all of it; `percentile` without the most
            extreme; `entropy` the one of which 256 levels tell most (`clinlm.compression.observers`). Encoders keep
            what matters in few large inputs: pooled vectors of MiniLM have a cosine of 0.992 with those in float32 by
            `minmax` and at percentile 99.999, of 0.92 at 99.99 and by `entropy`.
        percentile: of inputs that `percentile` covers, in (0, 100].
        skip, spare, sensitivity_documents, seed: see `Quantization`.
    """

    def __init__(
        self,
        documents: int = 128,
        observer: Observer = "minmax",
        percentile: float = 99.999,
        skip: Sequence[str] = (),
        spare: int = 0,
        sensitivity_documents: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(skip, spare, sensitivity_documents, seed)
        check_documents(documents)
        check_observer(observer, percentile)
        self.documents, self.observer, self.percentile = documents, observer, percentile
        self._levels: dict[str, tuple[float, int]] = {}
        self._smooth: Factors = {}

    @abstractmethod
    def factors(self, linear: nn.Linear, seen: Range) -> Float[Tensor, " inputs"] | None:
        """Return what the inputs of a layer are multiplied by before they are quantised; None for nothing."""

    @final
    def calibrate(self, module: Module, linears: Mapping[str, nn.Linear]) -> None:
        """See `PostTraining.calibrate`."""
        seen = input_ranges(module, linears, self.documents, self.seed)
        factors = {name: self.factors(linear, seen[name]) for name, linear in linears.items()}
        self._smooth = {name: factor for name, factor in factors.items() if factor is not None}
        spans = {name: layer_range(seen[name], factors[name]) for name in linears}
        if self.observer != "minmax":
            counts = input_histograms(module, linears, spans, self._smooth, self.documents, self.seed)
            spans = {
                name: observe_range(self.observer, counts[name], *spans[name], self.percentile) for name in linears
            }
        self._levels = {name: input_scale(*found) for name, found in spans.items()}

    @final
    def edit(self, names: list[str]) -> Edit:
        """See `Quantization.edit`."""
        return Edit(
            f"{EDITS}.quantize_linears_static",
            {"names": names, "smoothed": [name for name in names if name in self._smooth]},
        )

    @final
    def quantized(self, name: str, linear: nn.Linear) -> StaticInt8Linear:
        """See `Quantization.quantized`."""
        return StaticInt8Linear.of(linear, *self._levels[name], self._smooth.get(name))
