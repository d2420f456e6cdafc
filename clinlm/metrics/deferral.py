"""When a cascade's first model does not suffice: doubt about a note, and the most doubt at which it still answers.

Source: two-stage classifiers with a reject option, Trapeznikov and Saligrama 2013, AISTATS; of language models, Chen et
al. 2023, "FrugalGPT", arXiv:2305.05176, section 3.
Departs: no separate model decides which notes are deferred; the first model's own probabilities do.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

SHARES: Final = 100
"""Most different shares of deferred notes that are tried, besides none."""


def doubt(
    probabilities: Float[np.ndarray, "documents labels"], decided: Bool[np.ndarray, "documents labels"]
) -> Float[np.ndarray, " documents"]:
    """Return how many decisions on a note are wrong by expectation, if the probabilities are right; in [0, labels].

    NaN where a probability is NaN. Of exactly one label it is twice the probability that the label is another.
    """
    return np.asarray(np.abs(decided - probabilities).sum(axis=1))


def is_deferred(doubts: Float[np.ndarray, " documents"], limit: float) -> Bool[np.ndarray, " documents"]:
    """Return which documents the first model does not answer: of more doubt than the limit, or of NaN, no answer."""
    return np.asarray(~(doubts <= limit))


def most_doubt(
    doubts: Float[np.ndarray, " documents"], score: Callable[[Bool[np.ndarray, " documents"]], float], loss: float
) -> float:
    """Return the most doubt at which the first model answers: notes with more are deferred.

    The fewest notes are deferred so that this share, and every greater one that is tried, loses at most `loss` against
    deferring all: a single lucky share does not decide.

    Args:
        doubts: of the validation documents, at least one.
        score: of a cascade, by which of these documents are deferred; more is better.
        loss: at least 0, in the unit of the score.

    Returns:
        -1 where only deferring every note keeps to the loss; the greatest doubt seen where no note needs to be.
    """
    ordered = np.sort(doubts)[::-1]
    counts = np.unique(np.linspace(0, len(ordered), min(len(ordered), SHARES) + 1).round().astype(int))
    # At most so much doubt is kept if the k most doubtful notes are deferred; equal ones go together.
    limits = [float(ordered[k]) if k < len(ordered) else -1.0 for k in counts]
    floor = score(np.ones(len(doubts), bool)) - loss
    chosen = -1.0
    for limit in reversed(limits[:-1]):
        if score(is_deferred(doubts, limit)) < floor:
            break
        chosen = limit
    return chosen
