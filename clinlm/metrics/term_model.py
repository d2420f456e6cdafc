"""Models of terms, such as TF-IDF: what they share, and how their logits become those of a task."""

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from clinlm.metrics.conformal import Kind

CARD: Final = "baseline.json"
"""A folder with this file holds a saved baseline."""


@runtime_checkable
class TermModel(Protocol):
    """A model of terms: `TfidfBaseline`, whole or with INT8 weights."""

    def logits(self, texts: Sequence[str]) -> Float64[np.ndarray, "documents labels"]:
        """Return the logit of every label for every text."""
        ...


def linked_logits(baseline: TermModel, texts: Sequence[str], kind: Kind) -> Float32[np.ndarray, "units outputs"]:
    """Return logits of texts that the link of a task maps to the probabilities of the regressions."""
    logits = baseline.logits(texts)
    if kind != "multilabel":  # the logarithm of the sigmoid
        logits = np.minimum(logits, 0) - np.log1p(np.exp(-np.abs(logits)))
    return np.asarray(logits, dtype=np.float32)
