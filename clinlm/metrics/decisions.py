"""Decisions: which labels a model predicts, given their probabilities."""

import numpy as np
from jaxtyping import Bool, Float, Float64

from clinlm.config.errors import DataError

Probabilities = Float[np.ndarray, "documents labels"]
Thresholds = Float[np.ndarray, " labels"] | None
"""One threshold a label, in [0, 1]; or None where a document has exactly one label: the most probable is predicted."""


def apply_thresholds(probabilities: Probabilities, thresholds: Thresholds) -> Bool[np.ndarray, "documents labels"]:
    """Return the predicted labels, `probability >= threshold`; probabilities are not checked.

    Without thresholds the most probable label of every document, of equal ones the first.

    Raises:
        ValueError: not one threshold in [0, 1] a label.
    """
    if thresholds is None:
        return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None], dtype=bool)
    if thresholds.shape != probabilities.shape[1:]:
        raise ValueError(f"thresholds must be one a label, got {thresholds.shape} for {probabilities.shape[1]} labels")
    if not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise DataError("thresholds must lie in [0, 1], got others (or NaN); take them from fit_thresholds()")
    return np.asarray(probabilities >= thresholds, dtype=bool)


def sigmoid(logits: Float[np.ndarray, "units outputs"]) -> Float64[np.ndarray, "units outputs"]:
    """Return the probability of every logit by itself, in float64."""
    values = np.asarray(logits, dtype=np.float64)
    small = np.exp(-np.abs(values))  # at most 1, so that nothing overflows
    return np.asarray(np.where(values >= 0, 1, small) / (1 + small))
