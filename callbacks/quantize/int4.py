"""Linear layers with 4-bit weights."""

from collections.abc import Sequence
from typing import ClassVar, final

from torch import nn

from callbacks.quantize.base import EDITS, PostTraining
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.model import Edit


@final
class Int4(PostTraining):
    """Quantise the weights of linear layers to 4 bits in groups, after training; what they read stays in float.

    Source    S4 (risk level low: "INT4"); Frantar et al. 2022, "GPTQ", arXiv:2210.17323, section 4: rounding to the
              nearest, in groups, is its baseline.
    Changes   every linear layer but those of `skip` and `spare`: two weights a byte and a scale for every group.
              Embedding tables become INT8.
    Cost      none: no training, no documents; with `spare`, one pass over validation documents for every layer. Weights
              are unpacked at every call: it saves memory, not time.
    Departs   15 of 16 levels, -7 to 7, so that a zero stays a zero. No second-order correction (GPTQ).
    Clashes   comes last: integers are neither trained nor pruned nor factorised.

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
        if group_size < 1:
            raise ValueError(f"quantize.group_size is at least 1 input; got {group_size}")
        self.group_size = group_size

    def edit(self, names: list[str]) -> Edit:
        """See `Quantization.edit`."""
        return Edit(f"{EDITS}.quantize_linears_int4", {"names": names, "group_size": self.group_size})

    def quantized(self, name: str, linear: nn.Linear) -> Int4Linear:
        """See `Quantization.quantized`."""
        return Int4Linear.of(linear, self.group_size)
