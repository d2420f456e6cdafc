"""Linear layers and embedding tables in half precision."""

from typing import final

from torch import nn

from callbacks.quantize.base import Quantization
from clinlm.models.layers.half_embedding import HalfEmbedding
from clinlm.models.layers.half_linear import HalfLinear


@final
class Fp16(Quantization):
    """Store the weights of linear layers and embedding tables in 16-bit floats, after training.

    Source    "clinical edge deployment", technique 1: "FP16 (16-bit) or INT8"; its Jetson Orin runs FP16.
    Changes   every linear layer and embedding table except `skip` and `spare`: two bytes a weight.
    Cost      none: no training, no documents; with `spare`, one pass over validation documents per layer. Weights are
              widened to float32 at every call, so it saves bytes and not time: engines widen them once. Like integers,
              it is answered one document at a time.
    Departs   products are of float32: few CPUs multiply float16, and its sums lose digits.
    Clashes   must come last: what is stored so can be neither trained nor pruned nor factorised.

    Args: see `Quantization`.
    """

    def quantized(self, name: str, linear: nn.Linear) -> HalfLinear:
        return HalfLinear.from_float(linear)

    def table(self, table: nn.Embedding) -> HalfEmbedding:
        return HalfEmbedding.from_float(table)
