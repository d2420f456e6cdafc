"""Adaptation of principal singular values and vectors."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import nn

from clinlm.models.adapters.low_rank import ATTENTION, LowRank
from clinlm.models.adapters.tuner import ADAPTER


@final
class Pissa(LowRank):
    """Low-rank adaptation that starts from the largest singular values of a weight; the frozen layer holds the rest.

    Source: Meng et al. 2024, "PiSSA", arXiv:2404.02948; computed by peft, with alpha = r and no dropout as there.
    Arguments as `LowRank`; with dropout the network is another one from the first step on.
    """

    splits = True
    variant = {"init_lora_weights": "pissa"}

    def __init__(
        self,
        r: int = 32,
        alpha: int = 32,
        dropout: float = 0.0,
        targets: Sequence[str] = ATTENTION,
        learning_rate_factor: float = 1.0,
    ) -> None:
        super().__init__(r, alpha, dropout, targets, learning_rate_factor)

    @torch.no_grad()
    def start_masked(self, layer: Any, masks: Sequence[nn.Module]) -> None:
        # Peft takes the principal part out of the masked weight, which is computed: the tensor behind it keeps it.
        original = layer.get_base_layer().parametrizations.weight.original
        original.sub_(layer.get_delta_weight(ADAPTER))
        super().start_masked(layer, masks)
