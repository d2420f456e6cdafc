"""What pruning of FFN units shares: rank the units of every feed-forward block, keep the best, slice the rest away."""

from abc import abstractmethod
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.base import Compression
from callbacks.prune.settings import check_ratio
from clinlm.models.model import Edit
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module
from clinlm.training.promises import FfnWidth


class FfnPruning(Compression):
    """One-shot structured pruning of feed-forward blocks. Subclasses are final and say only what a unit is worth.

    Args:
        ratio: share of the units removed in every layer that is not skipped, in (0, 1); at least one unit stays.
        skip_std: a layer whose scores have a smaller (population) standard deviation is left whole; 0 skips none.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, ratio: float, skip_std: float) -> None:
        check_ratio(ratio)
        if skip_std < 0:
            raise ValueError(f"prune.skip_std is a standard deviation, at least 0; got {skip_std}")
        self.ratio, self.skip_std = ratio, skip_std
        self._rows: list[FfnWidth] = []

    @abstractmethod
    def scores(self, module: Module) -> list[Float[Tensor, " units"]]:
        """Return what every unit is worth, one vector a layer; larger is better."""

    @final
    def prepare(self, module: Module) -> None:
        """See `Compression.prepare`."""
        units = {}
        self._rows = []
        for number, scores in enumerate(self.scores(module)):
            spread = float(scores.double().std(unbiased=False))
            skipped = spread < self.skip_std
            if not skipped:
                units[str(number)] = best(scores, self.ratio)
            left = len(scores) if skipped else len(units[str(number)])
            mean = float(scores.double().mean())
            self._rows.append(FfnWidth(number, len(scores), left, mean, spread, skipped))
        if units:
            module.model.apply(Edit("clinlm.models.surgery.keep_ffn_units", {"units": units}))

    @final
    def report(self) -> MethodReport:
        """Return every layer: width before and after, mean and standard deviation of its scores, skipped or not."""
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        """See `Compression.no_change_reason`."""
        spreads = ", ".join(f"{row.score_std:.2g}" for row in self._rows)
        return f" (ratio={self.ratio:g}, skip_std={self.skip_std:g}; standard deviations of the layers: {spreads})"


def best(scores: Float[Tensor, " units"], ratio: float) -> list[int]:
    """Return the units that stay, ascending: all but `ratio` of them, at least one, ties to the first."""
    keep = max(1, len(scores) - round(ratio * len(scores)))
    order = torch.argsort(scores, descending=True, stable=True)
    return sorted(order[:keep].tolist())
