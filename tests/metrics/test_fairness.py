"""Gaps between subgroups are counted as quality() counts, and only between those that are large and known."""

from typing import Any

import numpy as np
import pytest

from clinlm.metrics.bootstrap import Interval, draw
from clinlm.metrics.classification import METRICS, quality
from clinlm.metrics.fairness import TINY, UNKNOWN, gaps


def sample(seed: int, documents: int = 240, labels: int = 3) -> tuple[Any, Any, Any, Any]:
    """Targets, thresholds, good probabilities, and a subgroup: 40 % a, 40 % b, the others c."""
    rng = np.random.default_rng(seed)
    targets = rng.random((documents, labels)) < 0.35
    probabilities = np.clip(0.35 * targets + 0.65 * rng.random(targets.shape), 0, 1)
    return targets, np.full(labels, 0.5), probabilities, rng.choice(["a", "b", "c"], documents, p=[0.4, 0.4, 0.2])


@pytest.mark.parametrize("metric", METRICS)
def test_gap_is_best_minus_worst_of_the_subgroups(metric: str) -> None:
    targets, thresholds, a, own = sample(0)
    b = np.where((own == "b")[:, None], 1 - a, a)
    found = gaps(targets, a, thresholds, b, thresholds, own, metric, resamples=20)
    by_name = {each.name: each for each in found.subgroups}
    assert list(by_name) == sorted(by_name, key=lambda name: -by_name[name].documents)
    for model, which in ((a, "original"), (b, "compressed")):
        values = {name: quality(targets[own == name], model[own == name], thresholds)[metric] for name in "abc"}
        assert {name: getattr(by_name[name], which).value for name in "abc"} == pytest.approx(values, abs=1e-6)
        gap = found.before if which == "original" else found.after
        assert gap.value == pytest.approx(max(values.values()) - min(values.values()), abs=1e-6)
    assert found.difference.value == pytest.approx(found.after.value - found.before.value)
    assert found.ratio.value == pytest.approx(found.after.value / max(found.before.value, TINY), rel=1e-3)


def test_argmax_decides_where_there_are_no_thresholds() -> None:
    targets, _, a, own = sample(1)
    targets = np.eye(3, dtype=bool)[targets.argmax(1)]
    for metric in ("accuracy", "macro_f1"):
        found = gaps(targets, a, None, a, None, own, metric, resamples=5)
        values = {name: quality(targets[own == name], a[own == name], None)[metric] for name in "abc"}
        assert {each.name: each.original.value for each in found.subgroups} == pytest.approx(values)


def test_planted_unfairness_is_found_and_a_model_is_as_fair_as_itself() -> None:
    targets, thresholds, a, own = sample(2, documents=600)
    rng = np.random.default_rng(0)
    b = np.where((own == "a")[:, None] & (rng.random(a.shape) < 0.6), rng.random(a.shape), a)
    found = gaps(targets, a, thresholds, b, thresholds, own, resamples=300)
    assert found.difference.low > 0.05 and found.ratio.low > 1 and found.after.low > 0.05
    same = gaps(targets, a, thresholds, a, thresholds, own, resamples=50)
    assert same.difference == Interval(0, 0, 0) and same.ratio == Interval(1, 1, 1)
    assert same.before == same.after and same.before.low == 0


def test_small_and_unknown_subgroups_are_listed_and_not_counted() -> None:
    targets, thresholds, a, own = sample(3)
    own = own.astype(object)
    own[:60], own[60:69] = UNKNOWN, "rare"
    own = own.astype(str)
    hidden = np.isin(own, (UNKNOWN, "rare"))[:, None]
    b = np.where(hidden, 1 - a, a)
    found = gaps(targets, a, thresholds, b, thresholds, own, minimum_documents=10, resamples=20)
    assert {each.name: each.standing for each in found.subgroups} == {
        **dict.fromkeys("abc", "counted"),
        UNKNOWN: "unknown",
        "rare": "small",
    }
    assert sum(each.documents for each in found.subgroups) == len(targets)
    assert found.difference == Interval(0, 0, 0)


def test_without_two_large_subgroups_there_is_no_gap() -> None:
    targets, thresholds, a, own = sample(4)
    found = gaps(targets, a, thresholds, a, thresholds, own, minimum_documents=200, resamples=5)
    numbers = [found.before, found.after, found.difference, found.ratio]
    assert np.isnan([[each.value, each.low, each.high] for each in numbers]).all()
    assert [each.standing for each in found.subgroups] == ["small"] * 3


def test_a_label_that_a_subgroup_lacks_makes_no_gap() -> None:
    targets = np.tile(np.eye(3, dtype=bool), (80, 1))
    own = np.repeat(["x", "y"], 120)
    targets[own == "y", 2] = False
    perfect = targets.astype(float)
    found = gaps(targets, perfect, np.full(3, 0.5), perfect, np.full(3, 0.5), own, resamples=5)
    assert quality(targets[own == "y"], perfect[own == "y"], np.full(3, 0.5))["macro_f1"] == pytest.approx(2 / 3)
    assert found.labels == (0, 1) and found.before.value == 0


def test_two_tiny_gaps_are_as_wide_as_each_other() -> None:
    targets = np.tile([[1], [0]], (1000, 1))
    a = targets.astype(float)
    b = a.copy()
    b[0] = 0  # one document of a thousand
    found = gaps(targets, a, np.array([0.5]), b, np.array([0.5]), np.repeat(["x", "y"], 1000), "accuracy", resamples=9)
    assert found.before.value == 0 and found.after.value == pytest.approx(0.001) and found.ratio.value == 1


def test_intervals_are_those_of_repeated_documents() -> None:
    targets, thresholds, a, own = sample(5)
    b = np.clip(a + 0.2 * (own == "b")[:, None], 0, 1)
    groups = np.arange(len(targets)) // 2
    found = gaps(targets, a, thresholds, b, thresholds, own, "micro_f1", resamples=15, seed=1, groups=groups)
    slow = []
    for count in draw(len(targets), 15, 1, groups):
        rows = np.repeat(np.arange(len(targets)), count.astype(int))
        wide = []
        for model in (a, b):
            each = [rows[own[rows] == name] for name in "abc"]
            values = [quality(targets[some], model[some], thresholds)["micro_f1"] for some in each]
            wide.append(max(values) - min(values))
        slow.append(wide[1] - wide[0])
    assert (found.difference.low, found.difference.high) == pytest.approx(
        tuple(np.percentile(slow, (2.5, 97.5))), abs=1e-6
    )


def test_equal_subgroups_reach_0_and_the_truth_is_covered() -> None:
    held = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        own = np.repeat(["a", "b", "c"], 100)
        right = rng.random((300, 1)) < np.where(own == "a", 0.9, 0.75)[:, None]
        equal = rng.random((300, 1)) < 0.8
        truth = np.ones((300, 1), dtype=bool)
        half = np.array([0.5])
        found = gaps(truth, equal.astype(float), half, right.astype(float), half, own, "accuracy", resamples=100)
        held.append((found.before.low == 0, found.after.low <= 0.15 <= found.after.high))
    assert np.mean(held, axis=0).min() >= 0.9


def test_misfits_are_refused() -> None:
    targets, thresholds, a, own = sample(0)
    with pytest.raises(ValueError, match="macro_f2"):
        gaps(targets, a, thresholds, a, thresholds, own, "macro_f2")
    with pytest.raises(ValueError, match="one subgroup"):
        gaps(targets, a, thresholds, a, thresholds, own, minimum_documents=0)
