"""Base class of pruning FFN units."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from callbacks.prune.base import StructuralPruning
from clinlm.compression.selection import keep_best
from clinlm.config.ranges import check_at_least
from clinlm.models import structure
from clinlm.models.model import Edit
from clinlm.training.modules.base import Module
from clinlm.training.promises import FfnWidth


class FfnPruning(StructuralPruning):
    """One-shot pruning of the units of every feed-forward block. Subclasses are final and define `scores`.

    Args:
        ratio: share of the units to remove in every layer that is not skipped, in (0, 1); at least one unit stays.
        skip_std: layers whose scores have a smaller (population) standard deviation are not pruned; 0 skips none.
    """

    def __init__(self, ratio: float, skip_std: float) -> None:
        super().__init__(ratio)
        check_at_least("prune.skip_std", skip_std, 0)
        self.skip_std = skip_std

    def sizes(self, body: nn.Module) -> list[int]:
        return [layer.up.out_features for layer in structure.layers(body)]

    def select(self, scores: Sequence[Float[Tensor, " _"]]) -> list[list[int]]:
        return [
            list(range(len(units))) if _deviation(units) < self.skip_std else keep_best(units, self.ratio)
            for units in scores
        ]

    def rows(self, module: Module, scores: Sequence[Float[Tensor, " _"]], kept: Sequence[list[int]]) -> list[FfnWidth]:
        return [
            FfnWidth(
                layer=number,
                width_before=len(units),
                width_after=len(kept[number]),
                score_mean=float(units.double().mean()),
                score_std=_deviation(units),
                skipped=_deviation(units) < self.skip_std,
            )
            for number, units in enumerate(scores)
        ]

    def edit(self, kept: Mapping[str, list[int]]) -> Edit:
        return Edit("clinlm.models.surgery.keep_ffn_units", {"units": kept})

    def no_change_reason(self) -> str:
        deviations = ", ".join(f"{row.score_std:.2g}" for row in self._rows if isinstance(row, FfnWidth))
        return f" (ratio={self.ratio:g}, skip_std={self.skip_std:g}; standard deviations of the layers: {deviations})"


def _deviation(scores: Float[Tensor, " units"]) -> float:
    return float(scores.double().std(unbiased=False))
