"""INT8 linear layers and embedding tables, without training and without calibration."""

from typing import final

from torch import nn

from callbacks.quantize.base import Quantization
from clinlm.models.layers.int8_linear import Int8Linear


@final
class Dynamic(Quantization):
    """Quantise weights to INT8 after training, and the inputs of linear layers at every call.

    Source    "five strategies for symptom extraction", section III.E, and "clinical edge deployment": post-training
              quantisation to INT8. As torch's `quantize_dynamic`: symmetric weights, here with one scale per row;
              inputs with a scale and zero point per call.
    Changes   every linear layer and embedding table except `skip` and `spare`: weights become integers.
    Cost      none: no training, no documents; with `spare`, one pass over validation documents per layer. The resulting
              model runs on CPUs only.
    Departs   embeddings too: in a small model they are most of the bytes ("five strategies" leaves them). Weights use
              127 of 255 levels, so that inputs may use all levels on every processor; torch does the opposite, which
              has larger errors (`clinlm.models.layers.rounding`).
    Clashes   must come last: integers can be neither trained nor pruned nor factorised.

    Args: see `Quantization`.
    """

    def quantized(self, name: str, linear: nn.Linear) -> Int8Linear:
        return Int8Linear.from_float(linear)
