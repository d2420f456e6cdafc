"""Pruning of the filters of a convolutional network by the L1 norm of their weights."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.prune.base import StructuralPruning
from clinlm.compression.scores import row_l1_norms
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module
from clinlm.training.promises import FilterCount


@final
class Filters(StructuralPruning):
    """Remove the convolution filters whose weights have the smallest L1 norm, width by width.

    Source    "clinical edge deployment", "L1 norm of whole units"; Li et al. 2017, "Pruning filters for efficient
              ConvNets", arXiv:1608.08710, section 3.1.
    Changes   filters of every width: rows and bias of the convolution, columns of the layers after it (pooling, head).
    Needs     a convolutional network (model@student=text_cnn).
    Cost      none.
    Departs   there the next layer is another convolution, here pooling and the head.
    Clashes   integer weights; masks in the same stage.

    Args:
        ratio: share of the filters of every width to remove, in (0, 1); at least one stays.
    """

    def __init__(self, ratio: float = 0.25) -> None:
        super().__init__(ratio)

    def sizes(self, body: nn.Module) -> list[int]:
        return [linear.out_features for linear in structure.filters(body)]

    def scores(self, module: Module) -> list[Float[Tensor, " _"]]:
        return [row_l1_norms(linear.weight) for linear in structure.filters(module.network.body)]

    def rows(
        self, module: Module, scores: Sequence[Float[Tensor, " _"]], kept: Sequence[list[int]]
    ) -> list[FilterCount]:
        config: Any = module.network.body.config
        return [
            FilterCount(width, len(norms), len(filters), float(norms.min()), float(norms.max()))
            for width, norms, filters in zip(config.widths, scores, kept, strict=True)
        ]

    def edit(self, kept: Mapping[str, list[int]]) -> Edit:
        return Edit("clinlm.models.surgery.keep_filters", {"filters": kept})

    def no_change_reason(self) -> str:
        filters = ", ".join(str(row.filters_before) for row in self._rows if isinstance(row, FilterCount))
        return f" (ratio={self.ratio:g}; filters of the widths, of which one each must stay: {filters})"
