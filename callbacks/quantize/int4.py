"""Linear layers with 4-bit weights."""

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn

from callbacks.quantize.base import Quantization
from clinlm.config.ranges import check_at_least
from clinlm.models.layers.int4_linear import Int4Linear


@final
class Int4(Quantization):
    """Quantise the weights of linear layers to 4 bits in groups, after training; their inputs stay float.

    Source    "clinical edge deployment" (risk level low: "INT4"); Frantar et al. 2022, "GPTQ", arXiv:2210.17323,
              section 4: rounding to the nearest, in groups, is its baseline.
    Changes   every linear layer except `skip` and `spare`: two weights per byte and one scale per group. Embedding
              tables become INT8.
    Cost      none: no training, no documents; with `spare`, one pass over validation documents per layer. Weights are
              unpacked at every call: it saves memory, not time.
    Departs   15 of 16 levels, -7 to 7, so that zeros stay zeros. No second-order correction (GPTQ).
    Clashes   must come last: integers can be neither trained nor pruned nor factorised.

    Args:
        group_size: inputs that share a scale, at least 1.
        skip, spare, sensitivity_documents, seed: see `Quantization`.
    """

    technique: ClassVar[str] = "int4"

    def __init__(
        self,
        group_size: int = 32,
        skip: Sequence[str] = (),
        spare: int = 0,
        sensitivity_documents: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(skip, spare, sensitivity_documents, seed)
        check_at_least("quantize.group_size", group_size, 1)
        self.group_size = group_size

    def quantized(self, name: str, linear: nn.Linear) -> Int4Linear:
        return Int4Linear.from_float(linear, self.group_size)
