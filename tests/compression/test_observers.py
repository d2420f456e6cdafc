"""Laws of observers: each against a slow second way, and against planted outliers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.compression.observers import (
    BINS,
    check_observer,
    entropy_range,
    observe_range,
    percentile_range,
    quantization_divergence,
)


def counted(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    low, high = float(values.min()), float(values.max())
    return np.histogram(values, BINS, (low, high))[0], low, high


def slow_divergence(counts: list[int], first: int, last: int, levels: int) -> float:
    """The definition, bin by bin."""
    inside = counts[first:last]
    there = list(inside)
    there[0] += sum(counts[:first])
    there[-1] += sum(counts[last:])
    said = [0.0] * len(inside)
    for level in range(levels):
        mine = [k for k in range(len(inside)) if k * levels // len(inside) == level]
        filled = [k for k in mine if there[k] > 0]
        for k in filled:
            said[k] = sum(inside[m] for m in mine) / len(filled)
    if not any(said):
        return math.inf

    def shares(bins: list[float]) -> list[float]:
        raw = [one / sum(bins) if one > 0 else 1e-4 / len(bins) for one in bins]
        return [one / sum(raw) for one in raw]

    p, q = shares([float(one) for one in there]), shares(said)
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@given(st.lists(st.integers(0, 9), min_size=8, max_size=40), st.data())
def test_divergence_is_that_of_the_slow_way(counts: list[int], data: st.DataObject) -> None:
    counts[len(counts) // 2] += 1
    first = data.draw(st.integers(0, len(counts) // 2))
    last = data.draw(st.integers(len(counts) // 2 + 1, len(counts)))
    levels = data.draw(st.integers(1, last - first))
    fast = quantization_divergence(np.array(counts), first, last, levels)
    assert fast == pytest.approx(slow_divergence(counts, first, last, levels), abs=1e-12)


def test_entropy_by_hand() -> None:
    """Four bins in two levels: (2, 2) says (1, 3) as (2, 2)."""
    found = quantization_divergence(np.array([1, 3, 4, 0]), 0, 4, 2)
    p, q = [1 / 8, 3 / 8, 4 / 8], [2 / 8, 2 / 8, 4 / 8]
    assert found == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-4)


def test_entropy_finds_the_least_of_all_ranges() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=20000), [30.0]])
    counts, low, high = counted(values)
    edges = np.linspace(low, high, BINS + 1)
    found, best = entropy_range(counts, low, high), (math.inf, low, high)
    for part in range(128, 0, -1):
        inside = [k for k in range(BINS) if edges[k + 1] > -high * part / 128 and edges[k] < high * part / 128]
        if len(inside) >= 256:
            kl = quantization_divergence(counts, inside[0], inside[-1] + 1)
            best = min(best, (kl, edges[inside[0]], edges[inside[-1] + 1]))
    assert found == pytest.approx(best[1:])


@given(st.integers(0, 99), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]), st.floats(-3, 3))
def test_percentiles_are_those_of_sorting(seed: int, percentile: float, shift: float) -> None:
    """To the width of a bin, on the side that cuts less."""
    values = np.random.default_rng(seed).standard_t(3, 3000) + shift
    counts, low, high = counted(values)
    found = percentile_range(counts, low, high, percentile)
    cut = int((1 - percentile / 100) / 2 * 3000)
    ordered, step = np.sort(values), (high - low) / BINS
    for end, kept in ((found[0], ordered[cut]), (-found[1], -ordered[-1 - cut])):
        assert kept - step - 1e-9 <= end <= kept + 1e-9


@pytest.mark.parametrize("low_heavy", [False, True])
def test_outliers_are_cut_and_the_rest_is_not(low_heavy: bool) -> None:
    """Ten of a hundred thousand inputs are ten times the largest other: the error of all is much smaller without."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=100_000).clip(-4, 4), np.full(10, 40.0)])
    values = -values if low_heavy else values
    counts, low, high = counted(values)

    def error(span: tuple[float, float]) -> float:
        first, last = min(span[0], 0.0), max(span[1], 0.0)
        step = (last - first) / 255
        usual = values[np.abs(values) < 5]
        return float(np.mean((np.round((usual.clip(first, last) - first) / step) * step + first - usual) ** 2))

    whole = error(observe_range("minmax", counts, low, high, 99.98))
    assert error(observe_range("percentile", counts, low, high, 99.98)) < 0.2 * whole
    assert error(observe_range("entropy", counts, low, high, 99.98)) < 0.2 * whole


def test_minmax_and_constants_keep_all() -> None:
    counts = np.zeros(BINS, dtype=np.int64)
    assert observe_range("minmax", counts, -1.0, 3.0, 50.0) == (-1.0, 3.0)
    assert observe_range("entropy", counts, 2.0, 2.0, 50.0) == (2.0, 2.0)
    assert percentile_range(np.ones(BINS, dtype=np.int64), -1.0, 3.0, 100.0) == (-1.0, 3.0)


def test_what_is_no_observer_is_refused() -> None:
    with pytest.raises(ValueError, match="quantize.observer must be one of minmax, percentile, entropy, got 'mean'"):
        check_observer("mean", 99.0)
    with pytest.raises(ValueError, match=r"quantize.percentile must be in \(0, 100\], got 0; 100 clips nothing"):
        check_observer("percentile", 0)
