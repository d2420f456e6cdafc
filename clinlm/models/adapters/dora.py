"""Weight-decomposed low-rank adaptation."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.adapters.low_rank import LowRank
from clinlm.models.adapters.tuner import ADAPTER


@final
class Dora(LowRank):
    """Low-rank adaptation of the direction of every row of a weight; its length is learned apart.

    Source: Liu et al. 2024, "DoRA", arXiv:2402.09353; computed by peft. Arguments as `LowRank`.
    """

    variant = {"use_dora": True}

    def masked(self, layer: Any, masks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        # Without dropout: a masked row is scaled by the norm of its weight and update together.
        base = layer.get_base_layer()
        weight = base.weight + layer.get_delta_weight(ADAPTER)
        length = layer.lora_magnitude_vector[ADAPTER].weight / weight.detach().norm(dim=1)
        weight = length[:, None] * weight
        for mask in masks:
            weight = mask(weight)
        return functional.linear(inputs, weight, base.bias)
