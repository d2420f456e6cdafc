"""Base class of quantisation with calibrated input ranges."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.quantize.base import Quantization
from clinlm.compression.calibration import Range, input_histograms, input_ranges, input_scale, layer_range
from clinlm.compression.observers import Observer, check_observer, observe_range
from clinlm.config.ranges import check_at_least
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.training.modules.base import Module


class Calibrated(Quantization, ABC):
    """INT8 quantisation after training, with input ranges fixed by calibration on training documents.

    Args:
        documents: random training documents, at least 1. Padding does not count.
        observer: range that the levels cover: `minmax` all inputs; `percentile` all but the most extreme; `entropy` the
            range that loses the least information (`clinlm.compression.observers`). Encoders depend on a few large
            inputs: pooled vectors of MiniLM have a cosine of 0.992 with those in float32 by `minmax` and at percentile
            99.999, of 0.92 at 99.99 and by `entropy`.
        percentile: share of the inputs that `percentile` covers, in (0, 100].
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
        check_at_least("quantize.documents", documents, 1)
        check_observer(observer, percentile)
        self.documents, self.observer, self.percentile = documents, observer, percentile
        self._levels: dict[str, tuple[float, int]] = {}
        self._smooth: dict[str, Float[Tensor, " inputs"]] = {}

    def factors(self, linear: nn.Linear, seen: Range) -> Float[Tensor, " inputs"] | None:
        """Return the factors of a layer's inputs before quantisation; None for none."""
        return None

    @final
    def calibrate(self, module: Module, linears: Mapping[str, nn.Linear]) -> None:
        seen = input_ranges(module, linears, self.documents, self.seed)
        factors = {name: self.factors(linear, seen[name]) for name, linear in linears.items()}
        self._smooth = {name: factor for name, factor in factors.items() if factor is not None}
        spans = {name: layer_range(seen[name], factors[name]) for name in linears}
        if self.observer != "minmax":
            counts = input_histograms(module, linears, spans, self._smooth, self.documents, self.seed)
            spans = {
                name: observe_range(self.observer, counts[name], *spans[name], self.percentile) for name in linears
            }
        self._levels = {name: input_scale(*span) for name, span in spans.items()}

    @final
    def quantized(self, name: str, linear: nn.Linear) -> StaticInt8Linear:
        return StaticInt8Linear.calibrated(linear, *self._levels[name], self._smooth.get(name))
