"""A model's answers for documents beside the truth: what every comparison asks, whatever is predicted."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import polars as pl

from clinlm.metrics.agreement import Agreement, Decisions, agreement
from clinlm.metrics.classification import Probabilities, Targets, Thresholds, decided, per_label, quality
from clinlm.metrics.estimate import Estimate
from clinlm.metrics.fairness import Subgroups, gaps
from clinlm.metrics.intervals import Difference, Groups, Interval, differences, spreads
from clinlm.metrics.weighted import Values, Weights, weighted_quality


class Evaluation(ABC):
    """Answers of one model for the documents of a split. Subclasses are final, one per way to be right.

    Attributes:
        documents: how many.
    """

    documents: int

    @abstractmethod
    def quality(self) -> dict[str, float]:
        """Return metric -> value; among them those of `clinlm.metrics.classification.METRICS`, NaN where undefined."""

    @abstractmethod
    def weighted(self, weights: Weights) -> dict[str, Values]:
        """Return what `quality` does for every row of weights, a number a document; see `weighted_quality`."""

    @abstractmethod
    def per_label(self) -> pl.DataFrame:
        """Return the quality of every label on its own: label, support, precision, recall, f1 and more."""

    @abstractmethod
    def agreement(self, other: Any, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> Agreement:
        """Return how often the two models decide alike; `other` is one of the same kind, on the same documents."""

    @abstractmethod
    def alike(self, found: Agreement) -> Estimate:
        """Return the one share of `found` that says how often decisions are equal."""

    @abstractmethod
    def gap(
        self,
        reference: Any,
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Estimate:
        """Return the growth, from `reference` to this, of the gap in micro F1 between the best and worst subgroup.

        NaN where fewer than two subgroups of `column` have `smallest` documents.
        """

    @final
    def intervals(self, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> dict[str, Interval]:
        """Return a 95 % interval for every metric; see `clinlm.metrics.intervals.intervals`."""
        return spreads(self.weighted, self.documents, resamples, seed, groups)

    @final
    def difference(
        self, reference: "Evaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> dict[str, Difference]:
        """Return this minus `reference`, paired, for every metric; see `clinlm.metrics.intervals.paired`."""
        return differences(reference.weighted, self.weighted, self.documents, resamples, seed, groups)


@final
@dataclass(frozen=True)
class LabelEvaluation(Evaluation):
    """Labels of documents.

    Attributes:
        targets, probabilities, thresholds: see `clinlm.metrics.classification.quality`.
        labels: names of the columns.
        kind: of the task.
    """

    targets: Targets
    probabilities: Probabilities
    thresholds: Thresholds
    labels: Sequence[str]
    kind: Literal["multilabel", "multiclass"]

    @property
    def documents(self) -> int:  # type: ignore[override]
        """See `Evaluation`."""
        return len(self.targets)

    @property
    def decisions(self) -> Decisions:
        """What is decided, documents x labels."""
        return decided(self.probabilities, self.thresholds)

    def quality(self) -> dict[str, float]:
        """See `Evaluation.quality`."""
        return quality(self.targets, self.probabilities, self.thresholds)

    def weighted(self, weights: Weights) -> dict[str, Values]:
        """See `Evaluation.weighted`."""
        return weighted_quality(self.targets, self.probabilities, self.thresholds, weights)

    def per_label(self) -> pl.DataFrame:
        """See `Evaluation.per_label`."""
        return per_label(self.targets, self.probabilities, self.thresholds, self.labels)

    def agreement(
        self, other: "LabelEvaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> Agreement:
        """See `Evaluation.agreement`."""
        return agreement(self.decisions, other.decisions, self.kind, resamples, seed, groups)

    def gap(
        self,
        reference: "LabelEvaluation",
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Estimate:
        """See `Evaluation.gap`."""
        pair = (self.targets, reference.probabilities, reference.thresholds, self.probabilities, self.thresholds)
        return gaps(*pair, column, "micro_f1", smallest, resamples, seed, groups).difference

    def alike(self, found: Agreement) -> Estimate:
        """See `Evaluation.alike`: of documents x labels; of documents, where each has exactly one label."""
        return found.documents if self.kind == "multiclass" else found.cells
