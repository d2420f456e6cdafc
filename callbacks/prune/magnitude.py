"""Pruning of FFN units by the L1 norm of their weights: a control."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from callbacks.prune.ffn import FfnPruning
from clinlm.compression.scores import row_l1_norms
from clinlm.models import structure
from clinlm.training.modules.base import Module


@final
class Magnitude(FfnPruning):
    """Remove the FFN units whose input weights have the smallest L1 norm.

    Source    Li et al. 2017, "Pruning filters for efficient convnets", arXiv:1608.08710, section 3.1, on FFN units.
    Changes   FFN widths, layer by layer.
    Cost      none.

    Args:
        ratio, skip_std: see `FfnPruning`.
    """

    def __init__(self, ratio: float = 0.05, skip_std: float = 0.0) -> None:
        super().__init__(ratio, skip_std)

    def scores(self, module: Module) -> list[Float[Tensor, " units"]]:
        return [row_l1_norms(layer.unit_rows()) for layer in structure.layers(module.network.body)]
