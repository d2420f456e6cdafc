"""Filters of a convolutional network by the L1 norm of their weights."""

from typing import Any, ClassVar, final

from jaxtyping import Float
from torch import Tensor

from callbacks.base import Compression
from callbacks.prune.ffn import best
from callbacks.prune.settings import check_ratio
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import FilterCount


@final
class Filters(Compression):
    """Remove the convolution filters whose weights have the smallest L1 norm, width by width.

    Source    S4, "L1 norm of whole units"; Li et al. 2017, "Pruning filters for efficient ConvNets", arXiv:1608.08710,
              section 3.1.
    Changes   filters of every width: rows and bias of the convolution, columns of what reads them (pooling, head).
    Needs     a convolutional network (model@student=text_cnn).
    Cost      none.
    Departs   there a filter's maps are read by another convolution, here by pooling and the head.
    Clashes   after INT8 there are no float weights to slice; masks in the same stage.

    Args:
        ratio: share of the filters removed of every width, in (0, 1); at least one stays.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, ratio: float = 0.25) -> None:
        check_ratio(ratio)
        self.ratio = ratio
        self._rows: list[FilterCount] = []

    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        scores = [filter_norms(linear.weight) for linear in structure.filters(module.network.body)]
        config: Any = module.network.body.config
        stay = [best(ours, self.ratio) for ours in scores]
        self._rows = [
            FilterCount(width, len(ours), len(kept), float(ours.min()), float(ours.max()))
            for width, ours, kept in zip(config.widths, scores, stay, strict=True)
        ]
        cut = {str(n): kept for n, kept in enumerate(stay) if len(kept) < len(scores[n])}
        if cut:
            module.model.apply(Edit("clinlm.models.surgery.keep_filters", {"filters": cut}))

    def report(self) -> MethodReport:
        """Return every width: filters before and after, smallest and largest norm."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        filters = ", ".join(str(row.filters_before) for row in self._rows)
        return f" (ratio={self.ratio:g}; filters of the widths, of which one each stays: {filters})"


def filter_norms(weight: Float[Tensor, "filters window"]) -> Float[Tensor, " filters"]:
    """Return the L1 norm of every row: the sum of the absolute weights of a filter."""
    return weight.detach().abs().sum(1)
