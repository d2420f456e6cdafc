"""Whether what a model says has changed: the population stability index, and a test of it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

EDGES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Between the bins of probabilities: close together near 0, where most labels of most notes lie."""

SHIFT = 0.1
"""A smaller index is read as no change, one above 0.25 as a large one (Siddiqi 2006, Credit Risk Scorecards)."""

SIGNIFICANT = 0.05


def histogram(probabilities: Float[np.ndarray, "documents labels"]) -> Int[np.ndarray, "labels bins"]:
    """Count the probabilities of every label by the bins between `EDGES`."""
    bins, width = np.digitize(probabilities, EDGES), len(EDGES) + 1
    counts: Int[np.ndarray, "labels bins"] = np.stack([(bins == place).sum(axis=0) for place in range(width)], axis=1)
    return counts


def stability(a: Int[np.ndarray, " bins"], b: Int[np.ndarray, " bins"]) -> float:
    """Return the population stability index of two histograms: 0 for equal shapes, unbounded above.

    PSI = sum of (p - q) ln(p / q) over the bins, of shares in which every bin that either has used counts half a
    document more, so that it stays finite where one of them has none.

    Raises:
        ValueError: one of them is empty.
    """
    if not a.sum() or not b.sum():
        raise ValueError("shares need documents; a histogram without any came")
    used = (a + b) > 0
    p, q = (one[used] + 0.5 for one in (a, b))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def stability_p(a: Int[np.ndarray, " bins"], b: Int[np.ndarray, " bins"]) -> float:
    """Return the p-value of their index if both are samples of one distribution.

    Source: Yurdakul & Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14(4): the index is then about (1/n + 1/m) times a chi-square with as many degrees of freedom as bins,
    less one. We count only bins that were used. Not for two models on the same documents: those are paired.
    """
    freedom = int(((a + b) > 0).sum()) - 1
    return 1.0 if not freedom else float(stats.chi2.sf(stability(a, b) / (1 / a.sum() + 1 / b.sum()), freedom))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): never smaller than they were, at most 1."""
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda one: values[one])):
        largest = max(largest, min(1.0, values[place] * (len(values) - rank)))
        corrected[place] = largest
    return corrected


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p-value of "both decide yes as often", from the documents on which they differ."""
    return 1.0 if not only_a + only_b else float(stats.binomtest(only_a, only_a + only_b).pvalue)
