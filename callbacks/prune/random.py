"""Random pruning of FFN units: the control for every criterion."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.prune.ffn import FfnPruning
from clinlm.models import structure
from clinlm.training.modules.base import Module


@final
class Random(FfnPruning):
    """Remove FFN units at random.

    Source    none; the control of Liu et al. 2019, "Rethinking the value of network pruning", arXiv:1810.05270.
    Changes   FFN widths, layer by layer.
    Cost      none.

    Args:
        ratio: see `FfnPruning`.
        seed: of the draw.
    """

    def __init__(self, ratio: float = 0.05, seed: int = 0) -> None:
        super().__init__(ratio, skip_std=0.0)
        self.seed = seed

    def scores(self, module: Module) -> list[Float[Tensor, " units"]]:
        generator = torch.Generator().manual_seed(self.seed)
        layers = structure.layers(module.network.body)
        return [torch.rand(layer.up.out_features, generator=generator) for layer in layers]
