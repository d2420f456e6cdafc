"""`quality()` of many resamples at once: a resample is a whole-number weight per document.

Counting a document twice is the same as a weight of 2. So the threshold metrics of all resamples are matrix products of
weights and hits, and the ranking metrics need one sort per label and running sums of weights, instead of one pass of
torchmetrics per resample (about a hundred times slower).
"""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.sparse import csr_array

from clinlm.metrics.classification import METRICS, ONE_VS_ONE, Probabilities, Targets, Thresholds, decide

Weights = Float[np.ndarray, "resamples documents"]
Values = Float[np.ndarray, " resamples"]

CELLS = 500_000
"""Resamples are taken in blocks whose arrays have at most this many cells: 4 MB an array, which caches still hold."""


def weighted_quality(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds, weights: Weights
) -> dict[str, Values]:
    """All that `quality()` gives for every row of weights; the same as `quality()` on documents physically repeated.

    Args:
        targets: as in `quality`.
        probabilities: as in `quality`.
        thresholds: as in `quality`.
        weights: whole numbers >= 0, how often each resample holds each document; no row is all 0.

    Returns:
        One value per resample and metric; NaN where a ranking metric is defined for no label of that resample.

    Raises:
        ValueError: as in `quality`, or the weights do not fit the documents.
    """
    predicted, truth = decide(targets, probabilities, thresholds), np.asarray(targets, dtype=bool)
    if weights.ndim != 2 or weights.shape[1] != len(truth) or not np.all(weights.sum(axis=1) > 0):
        raise ValueError(
            f"weights are a table resamples x {len(truth)} documents, every row with a positive sum; "
            f"{weights.shape} came"
        )
    values = _decisions(truth, predicted, weights) | rankings(truth, probabilities, np.arange(len(truth)), weights)
    if thresholds is None:
        values["accuracy"] = values["subset_accuracy"]
    further = {ONE_VS_ONE: _one_vs_one(truth, probabilities, weights)} if thresholds is None else {}
    return {name: values[name] for name in METRICS} | further


def _decisions(
    truth: Bool[np.ndarray, "documents labels"], predicted: Bool[np.ndarray, "documents labels"], weights: Weights
) -> dict[str, Values]:
    hit, extra, missed = (
        weights @ cells.astype(np.float64) for cells in (truth & predicted, ~truth & predicted, truth & ~predicted)
    )
    documents = weights.sum(axis=1)
    values = {
        "accuracy": 1 - (extra + missed).sum(axis=1) / (documents * truth.shape[1]),
        "subset_accuracy": weights @ np.all(truth == predicted, axis=1) / documents,
    }
    return values | scores(hit, extra, missed)


def scores(
    hit: Float[np.ndarray, "resamples labels"],
    extra: Float[np.ndarray, "resamples labels"],
    missed: Float[np.ndarray, "resamples labels"],
) -> dict[str, Values]:
    """Precision, recall and F1 from counts: micro, macro and weighted by the number of true ones.

    What is 0 / 0 is 0; so a label without positives has a recall and F1 of 0 and counts in the macro mean.

    Args:
        hit: how many true ones were found.
        extra: how many were found that are not true.
        missed: how many true ones were not found.
    """
    values, support = {}, hit + missed
    counts = {"precision": (hit, hit + extra), "recall": (hit, support), "f1": (2 * hit, 2 * hit + extra + missed)}
    for metric, (part, whole) in counts.items():
        each = _ratio(part, whole)
        values[f"micro_{metric}"] = _ratio(part.sum(axis=1), whole.sum(axis=1))
        values[f"macro_{metric}"] = each.mean(axis=1)
        values[f"weighted_{metric}"] = _ratio((each * support).sum(axis=1), support.sum(axis=1))
    return values


def rankings(
    truth: Bool[np.ndarray, "rows labels"],
    probabilities: Float[np.ndarray, "rows labels"],
    documents: Integer[np.ndarray, " rows"],
    weights: Weights,
) -> dict[str, Values]:
    """AUROC and AUPRC (average precision) over rows, micro and macro over the labels for which they are defined.

    Args:
        truth: of every row: a document, or a word of one.
        probabilities: what ranks the rows, label by label.
        documents: number of the document that each row belongs to.
        weights: as in `weighted_quality`.

    Returns:
        `micro_auroc`, `micro_auprc`, `macro_auroc` and `macro_auprc`; NaN where defined for no label of a resample.
    """
    columns = [
        _ranking(truth[:, label], probabilities[:, label], documents, weights) for label in range(truth.shape[1])
    ]
    auroc, auprc = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    micro = _ranking(truth.ravel(), probabilities.ravel(), np.repeat(documents, truth.shape[1]), weights)
    defined = ~np.isnan(auroc)
    labels = defined.sum(axis=1)
    values = {"micro_auroc": micro[0], "micro_auprc": micro[1]}
    for name, each in (("macro_auroc", auroc), ("macro_auprc", auprc)):
        values[name] = _ratio(np.where(defined, each, 0.0).sum(axis=1), labels, np.nan)
    return values


def _one_vs_one(truth: Bool[np.ndarray, "documents labels"], probabilities: Probabilities, weights: Weights) -> Values:
    """Mean over the ordered pairs of labels that a resample holds both of; NaN where it holds one label alone."""
    total, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for one, other in permutations(np.flatnonzero(truth.any(axis=0)).tolist(), 2):
        own = truth[:, one] | truth[:, other]
        auroc, _ = _ranking(truth[own, one], probabilities[own, one], np.arange(own.sum()), weights[:, own])
        total, pairs = total + np.nan_to_num(auroc), pairs + ~np.isnan(auroc)
    return _ratio(total, pairs, np.nan)


def _ranking(
    truth: Bool[np.ndarray, " cells"],
    scores: Float[np.ndarray, " cells"],
    documents: Integer[np.ndarray, " cells"],
    weights: Weights,
) -> tuple[Values, Values]:
    """AUROC and AUPRC of one column whose cells belong to `documents`; NaN where a class is missing."""
    order = np.argsort(-scores, kind="stable")
    ordered, truth, documents = scores[order], truth[order], documents[order]
    tie = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))
    # Both curves change slope only at scores that a positive has: cell -> stretch, 2i for the negatives above the
    # i-th such score, 2i + 1 for all the cells tied with it. The sums per stretch are one sparse product.
    steps, step = np.unique(tie[truth], return_inverse=True)
    stretch = np.searchsorted(steps, tie) + np.searchsorted(steps, tie, side="right")
    all_cells = _membership(stretch, documents, (2 * len(steps) + 1, weights.shape[1]))
    positives = _membership(step, documents[truth], (len(steps), weights.shape[1]))
    areas = [
        _areas(positives @ weights[block].T, all_cells @ weights[block].T)
        for block in _blocks(len(weights), 2 * len(steps) + 1)
    ]
    auroc, auprc = (np.concatenate(part) for part in zip(*areas, strict=True))
    return auroc, auprc


def _membership(
    rows: Integer[np.ndarray, " cells"], documents: Integer[np.ndarray, " cells"], shape: tuple[int, int]
) -> csr_array:
    return csr_array((np.ones(len(rows)), (rows, documents)), shape=shape)


def _areas(
    gained: Float[np.ndarray, "steps resamples"], stretches: Float[np.ndarray, "stretches resamples"]
) -> tuple[Values, Values]:
    """Areas under the ROC curve (trapezoids) and the precision-recall curve (steps) from the weights of its parts."""
    hits, taken = np.cumsum(gained, axis=0), np.cumsum(stretches, axis=0)
    positives = gained.sum(axis=0)
    negatives = taken[-1] - positives
    # A positive beats every negative below it and half of those tied with it.
    beaten = negatives - (taken[:-1:2] - (hits - gained) + taken[1::2] - hits) / 2
    auroc = _ratio((gained * beaten).sum(axis=0), positives * negatives, np.nan)
    auprc = _ratio((gained * _ratio(hits, taken[1::2])).sum(axis=0), positives, np.nan)
    return auroc, np.where(negatives > 0, auprc, np.nan)


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """part / whole, and `otherwise` where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), otherwise), where=whole > 0))


def _blocks(resamples: int, rows: int) -> Iterator[slice]:
    size = max(1, CELLS // rows)
    return (slice(start, start + size) for start in range(0, resamples, size))
