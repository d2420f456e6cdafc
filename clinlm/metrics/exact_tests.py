"""Tails of discrete distributions, as scipy.stats computes them: importing that takes a third of a second."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln


def hypergeometric_tail(
    least: Int[np.ndarray, " tests"], documents: int, outcomes: int, having: Int[np.ndarray, " tests"]
) -> Float[np.ndarray, " tests"]:
    """Return the probability that `having` of the documents, drawn at random, hold at least `least` of the outcomes."""
    both, drawn = np.arange(outcomes + 1), having[:, None]
    possible = (both <= drawn) & (outcomes - both <= documents - drawn) & (both >= least[:, None])
    inside, outside = np.minimum(both, drawn), np.minimum(outcomes - both, documents - drawn)
    logs = _choices(drawn, inside) + _choices(documents - drawn, outside) - _choices(documents, outcomes)
    return np.asarray(np.minimum(1.0, np.where(possible, np.exp(logs), 0.0).sum(axis=1)))


def poisson_binomial_tail(
    least: Int[np.ndarray, " tests"], chances: Float[np.ndarray, " trials"]
) -> Float[np.ndarray, " tests"]:
    """Return the probability that at least `least` of independent trials, with their own chances, come true.

    The distribution is built up trial by trial; only sums of positive numbers, so small tails keep their digits.
    """
    mass = np.zeros(len(chances) + 1)
    mass[0] = 1.0
    for number, chance in enumerate(chances[chances > 0].tolist(), 1):
        mass[1 : number + 1] = mass[1 : number + 1] * (1 - chance) + mass[:number] * chance
        mass[0] *= 1 - chance
    tail = np.append(np.cumsum(mass[::-1])[::-1], 0.0)
    return np.asarray(np.minimum(1.0, tail[np.clip(least, 0, len(chances) + 1)]))


def controlled(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return p adjusted so that the false discovery rate is controlled (Benjamini & Hochberg 1995)."""
    order = np.argsort(-p, kind="stable")
    ranked = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(1.0, ranked)
    return found


def _choices(of: Any, chosen: Any) -> Any:
    return gammaln(of + 1) - gammaln(chosen + 1) - gammaln(of - chosen + 1)
