"""Change of a model's predictions: the population stability index, and a test of it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Real

EDGES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Edges between the bins of probabilities: dense near 0, where most labels of most notes are."""

SHIFT = 0.1
"""A smaller index counts as no change, one above 0.25 as a large one (Siddiqi 2006, Credit Risk Scorecards)."""

SIGNIFICANT = 0.05


def histogram(values: Real[np.ndarray, "documents labels"], edges: Sequence[float]) -> Int[np.ndarray, "labels bins"]:
    """Count the values of every label by the bins between `edges`."""
    bins, width = np.digitize(values, edges), len(edges) + 1
    counts: Int[np.ndarray, "labels bins"] = np.stack([(bins == place).sum(axis=0) for place in range(width)], axis=1)
    return counts


def stability(a: Int[np.ndarray, " bins"], b: Int[np.ndarray, " bins"]) -> float:
    """Return the population stability index of two histograms: 0 for equal shapes, unbounded above.

    PSI = sum of (p - q) ln(p / q) over the bins. Every bin that either of them uses counts half a document more, so
    that the index stays finite where one of them has none.

    Raises:
        ValueError: one of them is empty.
    """
    if not a.sum() or not b.sum():
        raise ValueError("histograms must not be empty")
    used = (a + b) > 0
    p, q = (counts[used] + 0.5 for counts in (a, b))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def stability_p(a: Int[np.ndarray, " bins"], b: Int[np.ndarray, " bins"]) -> float:
    """Return the p-value of their index if both are samples of one distribution.

    Source: Yurdakul & Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14(4): the index is then about (1/n + 1/m) times a chi-square with (bins - 1) degrees of freedom. Only
    bins that are used count. Not for two models on the same documents: those are paired.
    """
    from scipy import stats  # here and below: only the comparison of two models needs it

    freedom = int(((a + b) > 0).sum()) - 1
    return 1.0 if not freedom else float(stats.chi2.sf(stability(a, b) / (1 / a.sum() + 1 / b.sum()), freedom))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): never smaller than before, at most 1."""
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        largest = max(largest, min(1.0, values[place] * (len(values) - rank)))
        corrected[place] = largest
    return corrected


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of "both decide yes equally often", from the documents where they differ."""
    from scipy import stats

    return 1.0 if not only_a + only_b else float(stats.binomtest(only_a, only_a + only_b).pvalue)
