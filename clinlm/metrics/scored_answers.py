"""Answers of a model to a split with their prediction sets and the truth, and coverage measured on them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_matrix
from scipy.special import ndtri

from clinlm.metrics.bootstrap import Interval, Values, Weights
from clinlm.metrics.conformal import COVERAGES, ConformalThresholds, Kind, fit_conformal
from clinlm.metrics.decisions import Thresholds, apply_thresholds
from clinlm.metrics.prediction_sets import Cells, PredictionSets

_Z = float(ndtri(0.975))


@final
@dataclass(frozen=True)
class GroupMeans:
    """Shares by group, in several columns: as in conformal bounds, a draw is a group, and then a document of it.

    Attributes:
        part: of every document and column, what counts for the group's share.
        whole: the same of what it is a share of; sums to 1 over the documents of a group that has some, 0 elsewhere.
        group: of every document, from 0.
        cells: number of documents, words or labels that each column counts.
    """

    part: Float[np.ndarray, "documents columns"]
    whole: Float[np.ndarray, "documents columns"]
    group: Int[np.ndarray, " documents"]
    cells: Int[np.ndarray, " columns"]

    def values(self, weights: Weights) -> Float[np.ndarray, "resamples columns"]:
        """Return the mean over groups in every resample; NaN without any."""
        whole = weights @ self.whole
        return np.asarray(np.divide(weights @ self.part, whole, out=np.full_like(whole, np.nan), where=whole > 1e-12))

    def intervals(self) -> list[Interval]:
        """Return the mean of every column with its binomial 95 % interval (Wilson 1927), aware of groups.

        The number of trials is the effective one, m (1 - m) / variance of the mean m over groups: that of groups where
        documents of one are all alike, and that of the cells where they are independent. Unlike the bootstrap, it has a
        width at 0 and at 1.
        """
        groups = int(self.group.max()) + 1
        part, whole = (_sums(self.group, groups) @ own for own in (self.part, self.whole))
        there = whole > 1e-12
        return [_wilson(part[there[:, column], column], int(cells)) for column, cells in enumerate(self.cells.tolist())]


def _wilson(shares: Float[np.ndarray, " groups"], cells: int) -> Interval:
    count = len(shares)
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.clip(shares.mean(), 0, 1))
    spread = float(shares.var(ddof=1)) / count if count > 1 else 0.0
    within = mean * (1 - mean)
    trials = float(np.clip(within / spread, count, max(cells, count))) if spread > 0 and within > 0 else float(count)
    middle = (mean + _Z**2 / (2 * trials)) / (1 + _Z**2 / trials)
    half = _Z * math.sqrt(within / trials + _Z**2 / (4 * trials**2)) / (1 + _Z**2 / trials)
    return Interval(mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)))


@final
@dataclass(frozen=True)
class ScoredAnswers:
    """Answers of a model to the units of a split (notes, or words), with the truth.

    Attributes:
        probabilities, decided, targets: units x outputs.
        thresholds: of the decisions; None where the most probable output is predicted.
        documents: of every unit, its document, from 0.
        group: of every document (its patient), from 0.
        labels: of the outputs.
        sets: coverage -> the sets at it.
    """

    probabilities: Float[np.ndarray, "units outputs"]
    decided: Cells
    targets: Cells
    thresholds: Thresholds
    documents: Int[np.ndarray, " units"]
    group: Int[np.ndarray, " documents"]
    labels: tuple[str, ...]
    kind: Kind
    sets: Mapping[float, PredictionSets]

    @classmethod
    def of(
        cls,
        probabilities: Float[np.ndarray, "units outputs"],
        targets: Bool[np.ndarray, "units outputs"],
        thresholds: Thresholds,
        documents: Int[np.ndarray, " units"],
        groups: Shaped[np.ndarray, " documents"],
        labels: Sequence[str],
        kind: Kind,
        conformal: Sequence[ConformalThresholds] | None,
    ) -> Self:
        """Return the answers with their sets.

        Args:
            groups: of every document.
            conformal: thresholds fitted on other documents; None fits them on these, crossed: the sets of either
                half of the groups are those of thresholds fitted on the other, so that no document calibrates its own.
        """
        decided = apply_thresholds(probabilities, thresholds)
        group = np.unique(groups, return_inverse=True)[1].reshape(-1)
        if conformal is not None:
            sets = {own.coverage: PredictionSets.of(probabilities, decided, own, kind) for own in conformal}
        else:
            sets = _crossed(probabilities, targets, decided, documents, group, kind)
        return cls(probabilities, decided, targets, thresholds, documents, group, tuple(labels), kind, sets)

    @property
    def truths(self) -> Cells:
        """What a set must hold: the true labels; of words the tags of entities, and not O."""
        if self.kind != "entities":
            return self.targets
        found = self.targets.copy()
        found[:, 0] = False
        return found

    def by_document(self, cells: Shaped[np.ndarray, "units columns"]) -> Float[np.ndarray, "documents columns"]:
        """Return the sums of some columns over the units of every document."""
        return np.asarray(_sums(self.documents, len(self.group)) @ cells.astype(np.float64))

    def class_coverage(self, chosen: Cells, held: Cells) -> GroupMeans:
        """Return, for every output, the share of the chosen units that `held` holds."""
        count = self.by_document(chosen)
        size = (_sums(self.group, int(self.group.max()) + 1) @ count)[self.group]
        part, whole = (
            np.divide(own, size, out=np.zeros_like(size), where=size > 0)
            for own in (self.by_document(chosen & held), count)
        )
        return GroupMeans(part, whole, self.group, chosen.sum(axis=0))

    def set_coverage(self, held: Cells) -> GroupMeans:
        """Return the mean share of the truths of a document that `held` holds, in one column; without truths 1."""
        truths, missed = (self.by_document(own).sum(axis=1) for own in (self.truths, self.truths & ~held))
        share = np.divide(missed, truths, out=np.zeros_like(missed), where=truths > 0)
        whole = 1 / np.bincount(self.group)[self.group]
        return GroupMeans((whole * (1 - share))[:, None], whole[:, None], self.group, np.array([len(self.group)]))


def mean_over_units(answers: ScoredAnswers, values: Shaped[np.ndarray, " units"], weights: Weights) -> Values:
    """Return the mean of a number over the units of every resample; NaN without units."""
    ones = np.ones(len(answers.documents))
    both = answers.by_document(np.stack([values.astype(np.float64), ones], axis=1))
    part, whole = (weights @ both).T
    return np.asarray(np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0))


def _sums(place: Int[np.ndarray, " units"], places: int) -> csr_matrix:
    """Return the matrix that sums rows by their place."""
    return csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))), shape=(places, len(place)))


def _crossed(
    probabilities: Float[np.ndarray, "units outputs"],
    targets: Cells,
    decided: Cells,
    documents: Int[np.ndarray, " units"],
    group: Int[np.ndarray, " documents"],
    kind: Kind,
) -> dict[float, PredictionSets]:
    halves = np.random.default_rng(0).permutation(int(group.max()) + 1)[group] % 2 == 0
    first = halves[documents]
    found = []
    for fitted in (~halves, halves):
        kept = fitted[documents]
        number = np.cumsum(fitted) - 1
        own = fit_conformal(probabilities[kept], targets[kept], number[documents[kept]], group[fitted], kind)
        found.append([PredictionSets.of(probabilities, decided, each, kind) for each in own])
    return {coverage: a.joined(b, first) for coverage, a, b in zip(COVERAGES, *found, strict=True)}
