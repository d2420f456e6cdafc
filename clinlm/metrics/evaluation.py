"""A model's predictions on a split, compared with the truth: one interface for labels and entities."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, final

import numpy as np
import polars as pl
from jaxtyping import Int

from clinlm.metrics.agreement import Agreement, Decisions, measure_agreement
from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights, differences, intervals
from clinlm.metrics.classification import Targets, per_label, weighted_quality
from clinlm.metrics.decisions import Probabilities, Thresholds, apply_thresholds
from clinlm.metrics.fairness import Subgroups, gaps


class Evaluation(ABC):
    """Predictions of one model on a split, with the truth. Subclasses are final, one per kind of prediction."""

    documents: int

    @abstractmethod
    def weighted(self, weights: Weights) -> dict[str, Values]:
        """Return metric -> values, one for every row of weights (how often each document counts); NaN where undefined.

        Among the metrics are those of `clinlm.metrics.classification.METRICS`.
        """

    @final
    def quality(self) -> dict[str, float]:
        """Return metric -> value on the documents as they are; NaN where undefined."""
        return {name: float(value[0]) for name, value in self.weighted(np.ones((1, self.documents))).items()}

    @abstractmethod
    def only(self, chosen: Int[np.ndarray, " chosen"]) -> Self:
        """Return the evaluation of some documents, by their numbers."""

    @abstractmethod
    def per_label(self) -> pl.DataFrame:
        """Return the quality of every label on its own: label, support, precision, recall, f1 and more."""

    @abstractmethod
    def agreement(self, other: Any, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> Agreement:
        """Return the agreement of two models; `other` is of the same class, on the same documents."""

    @abstractmethod
    def alike(self, found: Agreement) -> Interval:
        """Return the share of equal decisions, which one of those of `found` it is for this kind."""

    @abstractmethod
    def gap(
        self,
        reference: Any,
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Interval:
        """Return the growth, from `reference` to this, of the gap in micro F1 between the best and worst subgroup.

        NaN where fewer than two subgroups of `column` have `smallest` documents.
        """

    @final
    def intervals(self, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> dict[str, Interval]:
        """Return a 95 % interval for every metric; see `clinlm.metrics.bootstrap.intervals`."""
        return intervals(self.weighted, self.documents, resamples, seed, groups)

    @final
    def difference(
        self, reference: "Evaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> dict[str, Interval]:
        """Return this minus `reference`, paired, for every metric; see `clinlm.metrics.bootstrap.differences`."""
        return differences(reference.weighted, self.weighted, self.documents, resamples, seed, groups)


@final
@dataclass(frozen=True)
class LabelEvaluation(Evaluation):
    """Labels of documents.

    Attributes:
        targets, probabilities, thresholds: see `clinlm.metrics.classification.quality`.
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
        """Decisions, documents x labels."""
        return apply_thresholds(self.probabilities, self.thresholds)

    def only(self, chosen: Int[np.ndarray, " chosen"]) -> Self:
        return replace(self, targets=self.targets[chosen], probabilities=self.probabilities[chosen])

    def weighted(self, weights: Weights) -> dict[str, Values]:
        return weighted_quality(self.targets, self.probabilities, self.thresholds, weights)

    def per_label(self) -> pl.DataFrame:
        return per_label(self.targets, self.probabilities, self.thresholds, self.labels)

    def agreement(
        self, other: "LabelEvaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> Agreement:
        return measure_agreement(self.decisions, other.decisions, self.kind, resamples, seed, groups)

    def gap(
        self,
        reference: "LabelEvaluation",
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Interval:
        pair = (self.targets, reference.probabilities, reference.thresholds, self.probabilities, self.thresholds)
        return gaps(*pair, column, "micro_f1", smallest, resamples, seed, groups).difference

    def alike(self, found: Agreement) -> Interval:
        """See `Evaluation.alike`: of documents x labels; of documents, where each has exactly one label."""
        return found.documents if self.kind == "multiclass" else found.cells
