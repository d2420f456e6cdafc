"""Linear layers in INT8 whose inputs are quantised to levels that calibration fixed."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.quantize.calibrated import Calibrated
from clinlm.compression.calibration import Range


@final
class Static(Calibrated):
    """Quantise weights to INT8 after training, and inputs to levels fixed by reading training documents.

    Source    S4 (static post-training quantisation with calibration batches, 100 there); Nagel et al. 2021, "A white
              paper on neural network quantization", arXiv:2106.08295, section 3.
    Changes   every linear layer and embedding table but those of `skip` and `spare`: weights become integers.
    Needs     `documents` training documents, forward only.
    Cost      one pass over them, two with `percentile` or `entropy`; with `spare`, one pass over validation documents
              for every layer. The model that comes out runs on CPUs only.
    Departs   what lies between linear layers (norms, softmax, activations) stays in float. Weights use 127 of 255
              levels (`clinlm.models.layers.rounding`).
    Clashes   comes last: integers are neither trained nor pruned nor factorised.

    Args: see `Calibrated`.
    """

    def factors(self, linear: nn.Linear, seen: Range) -> Float[Tensor, " inputs"] | None:
        """See `Calibrated.factors`: none."""
        return None
