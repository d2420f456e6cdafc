"""Tails and adjusted p are those of scipy.stats."""

import numpy as np
from scipy.stats import false_discovery_control, hypergeom, poisson_binom

from clinlm.metrics.exact_tests import controlled, hypergeometric_tail, poisson_binomial_tail


def test_hypergeometric_tails() -> None:
    random = np.random.default_rng(0)
    for documents in (1, 7, 60, 4000):
        outcomes = int(random.integers(0, documents + 1))
        having = random.integers(0, documents + 1, 40)
        least = random.integers(0, having + 1)
        expected = hypergeom.sf(least - 1, documents, outcomes, having)
        np.testing.assert_allclose(
            hypergeometric_tail(least, documents, outcomes, having), expected, rtol=1e-7, atol=1e-13
        )


def test_poisson_binomial_tails() -> None:
    random = np.random.default_rng(0)
    for trials in (1, 5, 300):
        chances = random.random(trials) * random.choice([0.0, 0.02, 1.0], trials)
        least = np.arange(trials + 2)
        expected = np.clip(poisson_binom.sf(least - 1, chances), 0.0, 1.0)
        np.testing.assert_allclose(poisson_binomial_tail(least, chances), expected, atol=1e-12)
    np.testing.assert_allclose(poisson_binomial_tail(np.array([9]), np.full(9, 0.01)), [1e-18])


def test_adjusted_p() -> None:
    random = np.random.default_rng(0)
    for tests in (1, 2, 50):
        p = np.round(random.random(tests) ** 3, 2)
        np.testing.assert_allclose(controlled(p), false_discovery_control(p, method="bh"), rtol=1e-12)
