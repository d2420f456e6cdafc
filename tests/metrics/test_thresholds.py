"""Thresholds are the best of all possible ones, found a second, slower way."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clinlm.metrics.classification import fit_thresholds


def f1(truth: Any, decided: Any) -> float:
    return float(2 * (truth & decided).sum() / max(1, truth.sum() + decided.sum()))


def best(truth: Any, scores: Any) -> float:
    """Brute force over all midpoints: the highest F1, nearest 0.5, the higher of two."""
    distinct = [0.0, *sorted(set(scores.ravel().tolist()))]
    middles = {low + (high - low) / 2 for low, high in pairwise(distinct)}
    if 0.0 in scores:
        middles = (middles - {0.0}) | {0.0}
    found: float = max(middles, key=lambda middle: (f1(truth, scores >= middle), -abs(middle - 0.5), middle))
    return found


tables = st.tuples(st.integers(1, 12), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays(np.bool_, shape),
        arrays(np.float64, shape, elements=st.integers(0, 16).map(lambda step: step / 16)),
    )
)


@settings(max_examples=200, deadline=None)
@given(tables)
def test_equals_brute_force(table: tuple[Any, Any]) -> None:
    truth, scores = table
    truth[0, 0] = True
    everywhere = fit_thresholds(truth, scores, "global")
    assert everywhere.tolist() == [best(truth, scores)] * truth.shape[1]
    for label, threshold in enumerate(fit_thresholds(truth, scores, "per_label")):
        found = best(truth[:, label], scores[:, label]) if truth[:, label].any() else everywhere[0]
        assert threshold == found


@given(st.floats(0, 1), st.floats(0, 1))
def test_neighbouring_floats_are_cut_apart(one: float, other: float) -> None:
    low, high = sorted((one, other))
    truth, scores = np.array([[False], [True]]), np.array([[low], [high]])
    decided = scores >= fit_thresholds(truth, scores, "per_label")
    assert decided.ravel().tolist() == [low == high, True]
    next_up = np.array([[low], [np.nextafter(low, 2)]]).clip(0, 1)
    if next_up[0] < next_up[1]:
        assert f1(truth, next_up >= fit_thresholds(truth, next_up, "per_label")) == 1


def test_per_label_is_at_least_as_good_as_global_on_its_own_documents() -> None:
    random = np.random.default_rng(0)
    truth = random.random((200, 6)) < 0.2
    scores = np.clip(0.3 * truth + 0.7 * random.random(truth.shape), 0, 1).astype(np.float32)
    everywhere, own = (fit_thresholds(truth, scores, scope) for scope in ("global", "per_label"))
    for label in range(6):
        column, score = truth[:, label], scores[:, label]
        assert f1(column, score >= own[label]) >= f1(column, score >= everywhere[label])
    grid = [f1(truth, scores >= step) for step in np.linspace(0, 1, 500)]
    assert f1(truth, scores >= everywhere) >= max(grid)


def test_no_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a positive label"):
        fit_thresholds(np.zeros((3, 2), int), np.zeros((3, 2)), "global")
