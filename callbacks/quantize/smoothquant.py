"""SmoothQuant: moves the difficulty of quantisation from inputs to weights."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from callbacks.quantize.calibrated import Calibrated
from clinlm.compression.approximation import smoothing_factors
from clinlm.compression.calibration import Range
from clinlm.compression.observers import Observer
from clinlm.config.ranges import check_interval


@final
class Smoothquant(Calibrated):
    """As `static`, but input channels are divided by factors against outliers, and weights multiplied by them.

    Source    Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438, equation 4: s = max|X|^alpha / max|W|^(1 - alpha).
    Names     our `smooth` is their 1 / s.
    Changes   every linear layer and embedding table except `skip` and `spare`: weights become integers; a linear layer
              gets one factor per input.
    Needs     `documents` training documents, forward only.
    Cost      as `static`, and one multiplication per input of a layer at every call.
    Departs   they fold 1 / s into the norm before the layer; in a BERT the output of the norm also bypasses the layer
              (post-norm), so the layer keeps the factors, and every linear layer has its own.
    Clashes   must come last: integers can be neither trained nor pruned nor factorised.

    Args:
        alpha: share of the difficulty that moves from inputs to weights, in [0, 1]. They use 0.5, and 0.75 to 0.9 for
            models with more outliers. Pooled vectors of MiniLM have a cosine with those in float32 of 0.981 at 0.5, of
            0.995 at 0.65 and 0.8, and of 0.992 without smoothing.
        documents, observer, percentile: see `Calibrated`; the observer sees the divided inputs.
        skip, spare, sensitivity_documents, seed: see `Quantization`.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        documents: int = 128,
        observer: Observer = "minmax",
        percentile: float = 99.999,
        skip: Sequence[str] = (),
        spare: int = 0,
        sensitivity_documents: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(documents, observer, percentile, skip, spare, sensitivity_documents, seed)
        check_interval("quantize.alpha", alpha, "[0, 1]")
        self.alpha = alpha

    def factors(self, linear: nn.Linear, seen: Range) -> Float[Tensor, " inputs"]:
        """See `Calibrated.factors`: 1 / s."""
        return 1 / smoothing_factors(torch.maximum(-seen[0], seen[1]), linear.weight.detach(), self.alpha)
