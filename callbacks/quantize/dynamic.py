"""Linear layers and embedding tables in INT8, without training and without calibration."""

from typing import final

from torch import nn

from callbacks.quantize.base import EDITS, PostTraining
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Edit


@final
class Dynamic(PostTraining):
    """Quantise weights to INT8 after training, and the inputs of linear layers as they come.

    Source    S1, section III.E, and S4: post-training quantisation to INT8. As torch's `quantize_dynamic`: symmetric
              weights, here with a scale for every row; inputs with a scale and zero point for every call.
    Changes   every linear layer and embedding table but those of `skip` and `spare`: weights become integers.
    Cost      none: no training, no documents; with `spare`, one pass over validation documents for every layer. The
              model that comes out runs on CPUs only.
    Departs   embeddings too: in a small model they are most of the bytes (S1 leaves them). Weights use 127 of 255
              levels, so that inputs may use all of theirs on every processor; torch has it the other way round, which
              errs more (`clinlm.models.layers.rounding`).
    Clashes   comes last: integers are neither trained nor pruned nor factorised.

    Args: see `Quantization`.
    """

    def edit(self, names: list[str]) -> Edit:
        """See `Quantization.edit`."""
        return Edit(f"{EDITS}.quantize_linears", {"names": names})

    def quantized(self, name: str, linear: nn.Linear) -> Int8Linear:
        """See `Quantization.quantized`."""
        return Int8Linear.of(linear)
