"""Laws of non-inferiority: verdicts against the interval, Holm against its definition, power by simulation."""

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.noninferiority import NonInferiority, corrected, judge, share_below

MARGINS = st.floats(0.005, 0.2)


def drawn(seed: int, mean: float, spread: float, resamples: int = 400) -> np.ndarray:
    """The difference on the documents, then its resamples; rounded, so that some are equal."""
    random = np.random.default_rng(seed)
    return np.round(np.append(mean, random.normal(mean, spread, resamples)), 4)


@given(st.integers(0, 99), st.floats(-0.1, 0.1), st.floats(0.0, 0.05), MARGINS)
def test_one_verdict_is_where_the_interval_is(seed: int, mean: float, spread: float, margin: float) -> None:
    values = drawn(seed, mean, spread)
    own, interval = judge(values, "micro_f1", margin, 100), Interval.percentile(values)
    assume(min(abs(interval.low + margin), abs(interval.high + margin)) > 1e-9)
    naive = "non-inferior" if interval.low > -margin else "inferior" if interval.high < -margin else "undecided"
    assert own.verdict == own.alone == naive == corrected([own])[0].verdict
    assert own.difference.low == interval.low and own.worse is (naive == "non-inferior" and interval.high < 0)


@given(st.integers(0, 99), st.floats(-0.05, 0.05), st.floats(0.001, 0.05))
def test_p_falls_as_the_limit_does_and_has_no_step_where_the_tail_begins(seed: int, mean: float, spread: float) -> None:
    values = drawn(seed, mean, spread)[1:]
    limits = np.linspace(values.min() - 4 * spread, values.max(), 30)
    shares = [share_below(values, mean, float(limit)) for limit in limits]
    assert all(0 <= low <= high + 1e-12 <= 1 + 1e-9 for low, high in pairwise(shares))
    join = float(np.percentile(values, 1))
    near = share_below(values, mean, join - 1e-9), share_below(values, mean, join + 1e-9)
    assert near[0] == pytest.approx(0.01, rel=1e-3) and near[1] >= 0.01 - 1e-6
    assert share_below(values, mean, values.min() - 4 * spread) < 0.001


def test_p_beyond_the_resamples_is_about_that_of_the_normal() -> None:
    """1,000 resamples cannot count a p of .0002; a million can."""
    many, few = (np.random.default_rng(1).normal(0, 1, size) for size in (1_000_000, 1000))
    for limit in (-2.7, -3.2, -3.6):
        assert share_below(few, 0.0, limit) == pytest.approx((many <= limit).mean(), rel=0.5)


def test_equal_models_are_non_inferior_and_undefined_ones_undecided() -> None:
    assert judge(np.zeros(101), "micro_f1", 0.02, 9).verdict == "non-inferior"
    assert judge(np.full(101, -0.02), "micro_f1", 0.02, 9).verdict == "undecided", "a loss of just the margin"
    nothing = judge(np.full(101, np.nan), "micro_f1", 0.02, 9)
    assert nothing.verdict == "undecided" and nothing.needed(0.02) is None and nothing.two_sided == 1


def of(p: float, p_inferior: float) -> NonInferiority:
    alone = "non-inferior" if p < 0.025 else "inferior" if p_inferior < 0.025 else "undecided"
    return NonInferiority(alone, alone, "micro_f1", 0.02, Interval(0, 0, 0), 0.01, p, p_inferior)  # type: ignore[arg-type]


@given(st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=6))
def test_holm_is_its_closed_test(shares: list[float]) -> None:
    """Slowly: a verdict stands if every family that holds its model has one of p < 5 % over its size."""
    judged = [of(share, 1 - share) for share in shares]
    twice = [2 * min(share, 1 - share) for share in shares]
    for place, own in enumerate(corrected(judged)):
        families = [
            [k for k in range(len(shares)) if mask >> k & 1] for mask in range(2 ** len(shares)) if mask >> place & 1
        ]
        stands = all(min(twice[k] for k in family) * len(family) < 0.05 for family in families)
        assert own.verdict == (own.alone if stands else "undecided") and own.family == len(shares)


def test_the_order_of_a_family_changes_nothing() -> None:
    judged = [of(share, 1 - share) for share in (0.001, 0.012, 0.9, 0.999)]
    expected = {own.p: own.verdict for own in corrected(judged)}
    for order in permutations(judged):
        assert {own.p: own.verdict for own in corrected(order)} == expected


def test_groups_count_as_units() -> None:
    values = drawn(0, 0.0, 0.01)
    own = judge(values, "micro_f1", 0.02, 6, np.array(list("aabbcc")))
    assert (own.units, own.unit) == (3, "groups")
    own = judge(values, "micro_f1", 0.02, 6, np.array(list("abcdef")))
    assert (own.units, own.unit) == (6, "notes")


def test_as_many_units_as_needed_have_eighty_percent_power() -> None:
    own = judge(drawn(3, 0.0, 0.01, 4000), "micro_f1", 0.02, 400)
    needed = own.needed(0.02)
    assert needed is not None and own.detectable == pytest.approx(0.0280, abs=0.001)
    spread = own.standard_error * math.sqrt(own.units / needed)
    random = np.random.default_rng(0)
    lows = random.normal(0, spread, 20_000) - 1.959964 * spread
    assert (lows > -0.02).mean() == pytest.approx(0.8, abs=0.02)
    assert own.needed(0.01) == pytest.approx(4 * needed, abs=4)
