"""Ranking metrics (AUROC, AUPRC) of one set of documents, or of many resamples at once.

Both areas depend on the scores of positives alone and on how many cells are above them (`ScoreSteps`). Of one set of
documents these are counted. A weight of 2 equals a repeated document, so all resamples share one sort and need running
sums of weights: the product of cells, steps x documents, with the weights. It is sparse, or, where many documents have
few positives (thousands of labels), a dense one of whole numbers that are exact in float32.
"""

from collections.abc import Iterator
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer
from scipy.sparse import csr_array

from clinlm.metrics.bootstrap import Values, Weights
from clinlm.metrics.score_steps import GROUP, ScoreSteps

CELLS = 500_000
"""Steps are taken in blocks whose arrays have at most this many cells: 4 MB an array, which fits into caches."""

CACHED: Final = 2**21
"""Documents x resamples that are multiplied at once by few cells, anywhere among them: 8 MB in float32."""

_WIDTH: Final = 16
"""Resamples multiplied at once, at least: a line of a cache."""

_BATCH: Final = 2**21
"""Cells of columns that are ranked together."""

DENSE: Final = 30
"""How many times as fast a dense product is as a sparse one, for as many cells."""

_EXACT: Final = 2**24
"""Sums of whole numbers are exact in float32 up to here."""

Sums = Float[np.ndarray, "steps resamples"]
ByColumn = Float[np.ndarray, "columns resamples"]


def ranking_metrics(
    truth: Bool[np.ndarray, "rows labels"],
    probabilities: Float[np.ndarray, "rows labels"],
    documents: Integer[np.ndarray, " rows"],
    weights: Weights,
) -> dict[str, Values]:
    """Return AUROC and AUPRC (average precision) over rows, micro and macro over the labels that define them.

    Args:
        truth: of every row: a document, or a word of one.
        probabilities: rank the rows, label by label.
        documents: number of the document that each row belongs to.
        weights: as in `clinlm.metrics.classification.weighted_quality`.

    Returns:
        `micro_auroc`, `micro_auprc`, `macro_auroc` and `macro_auprc`; NaN where defined for no label of a resample.
    """
    labels, sums, defined = truth.shape[1], np.zeros((2, len(weights))), np.zeros(len(weights))
    for start in range(0, labels, size := max(1, _BATCH // len(truth))):
        block = slice(start, start + size)
        areas = rank_columns(truth[:, block], probabilities[:, block], documents, weights)
        there = ~np.isnan(areas[0])
        defined += there.sum(axis=0)
        sums += [np.where(there, each, 0.0).sum(axis=0) for each in areas]
    steps = ScoreSteps.of(truth.reshape(-1, 1), probabilities.reshape(-1, 1))
    # Cells of a row in order are found among the steps twice as fast, and which is positive is known from the steps.
    ordered = probabilities if len(weights) == 1 or probabilities.size > GROUP else np.sort(probabilities, axis=1)
    micro = _rank(steps._replace(row=steps.row // labels), ordered.reshape(-1, 1), documents, weights)
    values = [each[0] for each in micro] + [ratio(each, defined, np.nan) for each in sums]
    return dict(zip(("micro_auroc", "micro_auprc", "macro_auroc", "macro_auprc"), values, strict=True))


def one_vs_one(
    truth: Bool[np.ndarray, "documents labels"], probabilities: Float[np.ndarray, "documents labels"], weights: Weights
) -> Values:
    """Return the mean AUROC over the ordered pairs of labels in a resample; NaN where it holds one label alone."""
    counts, members = weights.T, csr_array(truth.T.astype(np.float64))
    sizes = members @ counts
    total, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for label in np.flatnonzero(truth.any(axis=0)).tolist():
        positive, scores = np.flatnonzero(truth[:, label]), probabilities[:, label]
        order = positive[np.argsort(-scores[positive], kind="stable")]
        above = np.vstack([np.zeros(len(weights)), np.cumsum(counts[order], axis=0)])
        higher, equal = (len(order) - np.searchsorted(scores[order][::-1], scores, side) for side in ("right", "left"))
        # Of every document the weight of the positives above it, and half of those tied with it.
        beaten = members @ (counts * (above[higher] + above[equal]) / 2)
        auroc = ratio(beaten, sizes[label] * sizes, np.nan)
        auroc[label] = np.nan
        total, pairs = total + np.nansum(auroc, axis=0), pairs + (~np.isnan(auroc)).sum(axis=0)
    return ratio(total, pairs, np.nan)


def rank_columns(
    truth: Bool[np.ndarray, "rows columns"],
    scores: Float[np.ndarray, "rows columns"],
    documents: Integer[np.ndarray, " rows"],
    weights: Weights,
) -> tuple[ByColumn, ByColumn]:
    """Return AUROC and AUPRC of every column, whose rows belong to `documents`; NaN where a class is missing."""
    return _rank(ScoreSteps.of(truth, scores), scores, documents, weights)


def ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """Return part / whole, and `otherwise` where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0))


def _rank(
    steps: ScoreSteps,
    scores: Float[np.ndarray, "rows columns"],
    documents: Integer[np.ndarray, " some"],
    weights: Weights,
) -> tuple[ByColumn, ByColumn]:
    """Return the areas of every column, where each of `documents` has as many rows of `scores`, in whichever order."""
    counts = np.ascontiguousarray(weights.T)
    owners, own = documents[steps.row], steps.column[steps.step]
    gains = _membership(steps.step, owners, len(steps.score), len(counts))
    positives = _membership(own, owners, scores.shape[1], len(counts)) @ counts
    cells = np.bincount(documents, minlength=len(counts)) * (len(scores) // len(documents))
    negatives = cells @ counts - positives
    running, sums = _Running(steps.column), np.zeros((2, *positives.shape))
    found = _counted if len(weights) == 1 else _taken
    for block, taken, tied in found(steps, scores, documents, counts):
        gained, column = gains[block] @ counts, steps.column[block]
        hits = running.sums(block, gained)
        # A positive beats every negative below it and half of those tied with it.
        beaten = negatives[column] - (taken - hits) + (gained if tied is None else tied) / 2 - gained / 2
        starts = np.flatnonzero(np.append(True, column[1:] != column[:-1]))
        for total, each in zip(sums, (gained * beaten, gained * ratio(hits, taken)), strict=True):
            total[column[starts]] += np.add.reduceat(each, starts, axis=0)
    auroc, auprc = ratio(sums[0], positives * negatives, np.nan), ratio(sums[1], positives, np.nan)
    return auroc, np.where(negatives > 0, auprc, np.nan)


def _counted(
    steps: ScoreSteps,
    scores: Float[np.ndarray, "rows columns"],
    documents: Integer[np.ndarray, " some"],
    counts: Float[np.ndarray, "documents resamples"],
) -> Iterator[tuple[slice, Sums, Sums]]:
    """Yield what `_taken` yields, of one resample: its documents are repeated, and cells counted."""
    if not (counts == 1).all():
        repeats = np.repeat(counts[documents, 0].astype(np.int64), len(scores) // len(documents))
        scores = np.repeat(scores, repeats, axis=0)
    if len(steps.score):
        above, taken = (each[:, None].astype(np.float64) for each in steps.counts(scores))
        yield slice(0, len(above)), taken, taken - above


def _taken(
    steps: ScoreSteps,
    scores: Float[np.ndarray, "rows columns"],
    documents: Integer[np.ndarray, " some"],
    counts: Float[np.ndarray, "documents resamples"],
) -> Iterator[tuple[slice, Sums, Sums | None]]:
    """Yield blocks of steps: the weight of the cells at or above each, and of those at it; None if positives only."""
    (total, resamples), of_document = counts.shape, len(scores) // len(documents)
    width, most, before = max(_WIDTH, CACHED // total), float(counts.max()), np.float64(0)
    near = [counts[:, at : at + width].astype(np.float32, order="C") for at in range(0, resamples, width)]
    for part, row, place, tied in steps.reached(scores):
        size, owners = part.stop - part.start, documents[row // of_document]
        added = _membership(place, owners, size, total)
        several = np.count_nonzero(tied) > np.subtract(*np.searchsorted(steps.step, (part.stop, part.start)))
        ties = _membership(place[tied], owners[tied], size, total) if several else None
        dense = size * total < DENSE * added.nnz
        exact = np.diff(added.indptr).max() * most <= _EXACT
        running = _Running(steps.column[part])
        rows = max(1, CELLS // max(resamples, total // 4 if dense else 1))
        for start in range(0, size, rows):
            own = slice(start, min(start + rows, size))
            cells = added[own]
            if dense:
                summed = running.sums(own, cells.toarray())
                taken = np.hstack([_exact_product(summed, each) for each in near])
            else:
                taken = running.sums(own, np.hstack([cells @ each for each in near]) if exact else cells @ counts)
            if part.start:  # of one column; not in place: running sums go on from theirs
                taken = taken + before
            block = slice(part.start + own.start, part.start + own.stop)
            yield block, taken, None if ties is None else ties[own] @ counts
        before = taken[-1]


def _exact_product(
    cells: Float[np.ndarray, "steps documents"], counts: Float32[np.ndarray, "documents resamples"]
) -> Sums:
    """Return the product of whole numbers, summed over so few documents at once that float32 is exact."""
    size = max(1, int(_EXACT // max(1.0, float(cells.max()) * float(counts.max()))))
    blocks = [slice(start, start + size) for start in range(0, len(counts), size)]
    cells = cells.astype(np.float32)
    total = np.asarray(cells[:, blocks[0]] @ counts[blocks[0]], dtype=np.float64)
    for block in blocks[1:]:
        total += cells[:, block] @ counts[block]
    return total


@final
class _Running:
    """Sums of a number of every step over the steps of its column up to it, block after block."""

    def __init__(self, column: Integer[np.ndarray, " steps"]) -> None:
        self._column, self._last = column, np.float64(0)

    def sums(self, block: slice, values: np.ndarray) -> np.ndarray:
        """Return the sums of the next block."""
        column = self._column[block]
        sums = np.cumsum(values, axis=0, dtype=np.float64)
        starts = np.flatnonzero(column[1:] != column[:-1]) + 1
        before = -sums[starts - 1]
        if block.start and column[0] == self._column[block.start - 1]:
            sums[: starts[0] if len(starts) else None] += self._last
        for start, end, base in zip(starts, np.append(starts, len(sums))[1:], before, strict=True):
            sums[start:end] += base
        self._last = sums[-1]
        return sums


def _membership(
    rows: Integer[np.ndarray, " cells"], documents: Integer[np.ndarray, " cells"], count: int, total: int
) -> csr_array:
    return csr_array((np.ones(len(rows), np.float32), (rows, documents)), shape=(count, total))
