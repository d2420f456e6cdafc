"""Base class of structural pruning: score parts, keep the best, slice the rest away."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from callbacks.base import Compression
from clinlm.compression.selection import keep_best
from clinlm.config.ranges import check_interval
from clinlm.models.model import Edit, Model
from clinlm.training.method_report import MethodReport, ReportRow
from clinlm.training.modules.base import Module


def check_ratio(ratio: float) -> None:
    """Raise ConfigError unless `ratio` is a share in (0, 1)."""
    check_interval("prune.ratio", ratio, "(0, 1)", "to prune nothing, remove the stage (~stages.NAME)")


class StructuralPruning(Compression):
    """One-shot removal of the parts with the lowest scores, group by group. Subclasses are final.

    Args:
        ratio: share of the parts to remove, in (0, 1); at least one part of every group stays.
    """

    technique: ClassVar[str] = "pruning"

    def __init__(self, ratio: float) -> None:
        check_ratio(ratio)
        self.ratio = ratio
        self._rows: Sequence[ReportRow] = []

    @abstractmethod
    def sizes(self, body: nn.Module) -> list[int]:
        """Return the number of parts of every group."""

    @abstractmethod
    def scores(self, module: Module) -> list[Float[Tensor, " _"]]:
        """Return the scores of the parts, one vector per group; larger is better."""

    def select(self, scores: Sequence[Float[Tensor, " _"]]) -> list[list[int]]:
        """Return the parts of every group to keep, ascending."""
        return [keep_best(group, self.ratio) for group in scores]

    @abstractmethod
    def rows(
        self, module: Module, scores: Sequence[Float[Tensor, " _"]], kept: Sequence[list[int]]
    ) -> Sequence[ReportRow]:
        """Return the rows of the report."""

    @abstractmethod
    def edit(self, kept: Mapping[str, list[int]]) -> Edit:
        """Return the edit that keeps these parts of groups, given by number."""

    @final
    def prepare(self, module: Module) -> None:
        scores = self.scores(module)
        kept = self.select(scores)
        self._rows = self.rows(module, scores, kept)
        smaller = {str(n): parts for n, parts in enumerate(kept) if len(parts) < len(scores[n])}
        if smaller:
            module.model.apply(self.edit(smaller))

    @final
    def dry_run(self, model: Model) -> None:
        sizes = self.sizes(model.network.body)
        kept = self.select([torch.arange(size).float() for size in sizes])
        smaller = {str(n): parts for n, parts in enumerate(kept) if len(parts) < sizes[n]}
        if smaller:
            model.apply(self.edit(smaller))

    @final
    def report(self) -> MethodReport:
        return MethodReport(tuple(self._rows))

    def no_change_reason(self) -> str:
        return f" (ratio={self.ratio:g} of {len(self._rows)} rows of its report; one part of each group always stays)"
