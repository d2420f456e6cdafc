"""SmoothQuant: what makes inputs hard to quantise moves into the weights."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from callbacks.quantize.calibrated import Calibrated
from clinlm.compression.calibration import Range
from clinlm.compression.observers import Observer

_SMALLEST = 1e-5  # of a channel's largest input and weight: a channel that is never used would divide by 0


@final
class Smoothquant(Calibrated):
    """As `static`, but inputs are divided channel by channel by what makes outliers, and weights multiplied by it.

    Source    Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438, equation 4: s = max|X|^alpha / max|W|^(1 - alpha).
    Names     our `smooth` is their 1 / s.
    Changes   every linear layer and embedding table but those of `skip` and `spare`: weights become integers; a linear
              layer gets a number for each of its inputs.
    Needs     `documents` training documents, forward only.
    Cost      as `static`, and one multiplication for every input of a layer at every call.
    Departs   they fold 1 / s into the norm before; in a BERT its output also goes past the layer (post-norm), so the
              factors stay with the layer, and every linear layer is smoothed, each by its own.
    Clashes   comes last: integers are neither trained nor pruned nor factorised.

    Args:
        alpha: how much of the difficulty moves from inputs to weights, in [0, 1]. Theirs is 0.5, and 0.75 to 0.9 for
            models with more outliers. Pooled vectors of MiniLM have a cosine with those in float32 of 0.981 at 0.5, of
            0.995 at 0.65 and 0.8, and of 0.992 without smoothing.
        documents, observer, percentile: see `Calibrated`; the observer sees inputs already divided.
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
        if not 0 <= alpha <= 1:
            raise ValueError(f"quantize.alpha is a share in [0, 1]; got {alpha}")
        self.alpha = alpha

    def factors(self, linear: nn.Linear, seen: Range) -> Float[Tensor, " inputs"] | None:
        """See `Calibrated.factors`: 1 / s."""
        return 1 / smoothing(torch.maximum(-seen[0], seen[1]), linear.weight.detach(), self.alpha)


def smoothing(
    largest: Float[Tensor, " inputs"], weight: Float[Tensor, "outputs inputs"], alpha: float
) -> Float[Tensor, " inputs"]:
    """Return s, by which inputs are divided and columns of the weight multiplied (equation 4).

    Args:
        largest: the largest absolute value of every input.
        weight: of the layer.
        alpha: see `Smoothquant`.
    """
    return largest.clamp_min(_SMALLEST) ** alpha / weight.abs().amax(0).clamp_min(_SMALLEST) ** (1 - alpha)
