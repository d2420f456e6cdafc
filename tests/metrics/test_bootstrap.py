"""The bootstrap in one sweep equals quality() on documents that are really repeated."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from clinlm.metrics import bootstrap, ranking, score_steps
from clinlm.metrics.bootstrap import Interval, draw
from clinlm.metrics.classification import METRICS, ONE_VS_ONE, quality, weighted_quality


def sample(seed: int, documents: int = 80, labels: int = 5, digits: int = 2) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    targets = random.random((documents, labels)) < 0.25
    probabilities = np.round(np.clip(0.3 * targets + 0.7 * random.random(targets.shape), 0, 1), digits)
    return targets, probabilities, np.linspace(0.3, 0.6, labels)


def intervals(targets: Any, probabilities: Any, thresholds: Any, **how: Any) -> dict[str, Interval]:
    """Intervals of the quality of labels."""
    metrics = partial(weighted_quality, targets, probabilities, thresholds)
    return bootstrap.intervals(metrics, len(targets), **how)


def paired(targets: Any, *parts: Any, **how: Any) -> dict[str, Interval]:
    """Differences in the quality of labels; `parts`: probabilities and thresholds of the reference, then of another."""
    a, b = (partial(weighted_quality, targets, *pair) for pair in (parts[:2], parts[2:]))
    return bootstrap.differences(a, b, len(targets), **how)


def same(found: dict[str, Any], place: int, expected: dict[str, float]) -> None:
    assert {name: values[place] for name, values in found.items()} == pytest.approx(expected, abs=1e-6, nan_ok=True)


cells = st.integers(0, 8).map(lambda step: step / 8)
tables = st.tuples(st.integers(1, 9), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        arrays(np.bool_, shape),
        arrays(np.float64, shape, elements=cells),
        arrays(np.float64, shape[1], elements=cells),
        arrays(np.int64, (3, shape[0]), elements=st.integers(0, 3)),
    )
)


@settings(max_examples=60, deadline=None)
@given(tables)
def test_weights_are_repetitions(table: tuple[Any, Any, Any, Any]) -> None:
    targets, probabilities, thresholds, counts = table
    counts[0], counts[1:, 0] = 1, counts[1:, 0] + 1
    found = weighted_quality(targets, probabilities, thresholds, counts.astype(float))
    for place, count in enumerate(counts):
        rows = np.repeat(np.arange(len(targets)), count)
        same(found, place, quality(targets[rows], probabilities[rows], thresholds))


classes = st.tuples(st.integers(1, 9), st.integers(2, 4)).flatmap(
    lambda shape: st.tuples(
        arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)),
        arrays(np.float64, shape, elements=cells),
        arrays(np.int64, (3, shape[0]), elements=st.integers(0, 3)),
    )
)


@settings(max_examples=40, deadline=None)
@given(classes)
def test_weights_are_repetitions_where_a_document_has_one_label(table: tuple[Any, Any, Any]) -> None:
    """One-vs-one included: labels may be missing from a resample, or from all of them."""
    labels, probabilities, counts = table
    targets = np.eye(probabilities.shape[1], dtype=bool)[labels]
    counts[0], counts[1:, 0] = 1, counts[1:, 0] + 1
    found = weighted_quality(targets, probabilities, None, counts.astype(float))
    assert tuple(found) == (*METRICS, ONE_VS_ONE)
    for place, count in enumerate(counts):
        rows = np.repeat(np.arange(len(targets)), count)
        same(found, place, quality(targets[rows], probabilities[rows], None))


def test_one_vs_one_of_resamples_is_scikit_learns_on_repeated_documents() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(4), rng.choice(4, 116, p=[0.5, 0.3, 0.15, 0.05])])
    probabilities = 0.3 * np.eye(4)[labels] + 0.7 * rng.dirichlet(np.ones(4), 120)
    weights = draw(120, 20, seed=1)
    found = weighted_quality(np.eye(4, dtype=bool)[labels], probabilities, None, weights)[ONE_VS_ONE]
    for value, count in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(120), count)
        assert value == pytest.approx(
            roc_auc_score(labels[rows], probabilities[rows], multi_class="ovo", labels=range(4))
        )
    interval = intervals(np.eye(4, dtype=bool)[labels], probabilities, None, resamples=20, seed=1)[ONE_VS_ONE]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(found, (2.5, 97.5))))


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize(("dense", "exact"), [(0, 2**24), (10**9, 2**24), (10**9, 30)])
def test_blocks_and_dense_products_change_nothing(
    monkeypatch: pytest.MonkeyPatch, digits: int, dense: int, exact: int
) -> None:
    """With scores that tie and without; 30 makes float32 take one or a few documents at once."""
    parts = sample(0, digits=digits)
    weights = draw(80, 50, seed=3)
    whole = weighted_quality(*parts, weights)
    for name, value in {
        "CELLS": 100,
        "CACHED": 300,
        "_WIDTH": 1,
        "_BATCH": 200,
        "DENSE": dense,
        "_EXACT": exact,
    }.items():
        monkeypatch.setattr(ranking, name, value)
    for module in (ranking, score_steps):
        monkeypatch.setattr(module, "GROUP", 37)  # the table is read in parts
    for name, values in weighted_quality(*parts, weights).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12)


def test_interval_is_the_percentiles_of_repeated_documents() -> None:
    targets, probabilities, thresholds = sample(1, documents=30)
    found = intervals(targets, probabilities, thresholds, resamples=40, seed=5)
    slow = []
    for count in draw(30, 40, seed=5):
        rows = np.repeat(np.arange(30), count.astype(int))
        slow.append(quality(targets[rows], probabilities[rows], thresholds))
    assert tuple(found) == METRICS
    for name, interval in found.items():
        ends = np.percentile([each[name] for each in slow], (2.5, 97.5))
        assert (interval.low, interval.high) == pytest.approx(tuple(ends), abs=1e-6)


def test_more_documents_narrow_the_interval() -> None:
    small, large = (intervals(*sample(2, documents=count), resamples=200) for count in (60, 1500))
    assert all(large[name].high - large[name].low < small[name].high - small[name].low for name in METRICS)


def test_groups_are_drawn_whole_and_widen_the_interval() -> None:
    groups = np.repeat(["x", "y", "z", "w"], 5)
    drawn = draw(20, 30, seed=0, groups=groups).reshape(30, 4, 5)
    assert (drawn == drawn[:, :, :1]).all() and (drawn[:, :, 0].sum(axis=1) == 4).all()
    targets, probabilities, thresholds = sample(3, documents=40)
    rows = np.repeat(np.arange(40), 10)
    single = intervals(targets[rows], probabilities[rows], thresholds, resamples=300)["micro_f1"]
    whole = intervals(targets[rows], probabilities[rows], thresholds, resamples=300, groups=rows)["micro_f1"]
    honest = intervals(targets, probabilities, thresholds, resamples=300)["micro_f1"]
    assert whole.high - whole.low > 2 * (single.high - single.low)
    assert (whole.low, whole.high) == pytest.approx((honest.low, honest.high))


def test_resamples_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of `draw`, below the documents as they are; those of other groups are others."""
    groups, others = (np.repeat([f"{name}{own}" for own in range(20)], 3) for name in "ab")
    mixed = np.random.default_rng(0).permutation(groups)
    kept = bootstrap.resample(60, 30, 1, groups)
    assert np.array_equal(kept, np.vstack([np.ones(60), draw(60, 30, 1, groups)])) and not kept.flags.writeable
    assert bootstrap.resample(60, 30, 1, groups.astype(object)) is kept and bootstrap.resample(60, 30, 2) is not kept
    assert np.array_equal(bootstrap.resample(60, 30, 1, others), kept)
    assert np.array_equal(bootstrap.resample(60, 30, 1, mixed)[1:], draw(60, 30, 1, mixed))
    monkeypatch.setattr(bootstrap, "_KEPT_CELLS", 0)
    again = bootstrap.resample(60, 30, 1, groups)
    assert again is not kept and np.array_equal(again, kept)


def test_groups_of_one_are_no_groups() -> None:
    parts = sample(4)
    assert intervals(*parts, resamples=50, groups=np.arange(80)) == intervals(*parts, resamples=50)


def test_a_model_does_not_differ_from_itself() -> None:
    targets, probabilities, thresholds = sample(5)
    for change in paired(targets, probabilities, thresholds, probabilities, thresholds, resamples=50).values():
        assert (change.value, change.low, change.high, change.p) == (0, 0, 0, 1) and not change.significant


def test_difference_is_antisymmetric_and_equals_the_difference_of_qualities() -> None:
    targets, a, thresholds = sample(6)
    b = np.clip(a + 0.4 * targets, 0, 1)
    forth = paired(targets, a, thresholds, b, thresholds, resamples=200)
    back = paired(targets, b, thresholds, a, thresholds, resamples=200)
    before, after = quality(targets, a, thresholds), quality(targets, b, thresholds)
    for name, change in forth.items():
        assert change.value == pytest.approx(after[name] - before[name], abs=1e-6)
        assert (change.value, change.low, change.high, change.p) == pytest.approx(
            (-back[name].value, -back[name].high, -back[name].low, back[name].p)
        )
    assert forth["micro_f1"].significant and forth["micro_f1"].p == pytest.approx(2 / 201)


def test_pairing_is_narrower_than_two_intervals() -> None:
    targets, a, thresholds = sample(7)
    b = np.clip(a + 0.01, 0, 1)
    change = paired(targets, a, thresholds, b, thresholds)["micro_auroc"]
    alone = intervals(targets, a, thresholds)["micro_auroc"]
    assert change.high - change.low < (alone.high - alone.low) / 2


def test_undefined_stays_undefined() -> None:
    targets, probabilities, thresholds = sample(8)
    targets[:] = False
    interval = intervals(targets, probabilities, thresholds, resamples=5)["macro_auroc"]
    change = paired(targets, probabilities, thresholds, probabilities, thresholds, resamples=5)["macro_auroc"]
    assert np.isnan([interval.low, interval.high, change.value, change.low, change.high, change.p]).all()
    assert not change.significant


def test_same_seed_same_numbers() -> None:
    parts = sample(9)
    assert intervals(*parts, resamples=30, seed=1) == intervals(*parts, resamples=30, seed=1)
    assert intervals(*parts, resamples=30, seed=1) != intervals(*parts, resamples=30, seed=2)


def test_misfits_are_refused() -> None:
    targets, probabilities, thresholds = sample(0)
    with pytest.raises(ValueError, match="documents and resamples"):
        intervals(targets, probabilities, thresholds, resamples=0)
    # A TypeError where the suite checks array types at run time.
    with pytest.raises((ValueError, TypeError), match="group"):
        intervals(targets, probabilities, thresholds, groups=np.arange(3))
    with pytest.raises(ValueError, match="positive sum"):
        weighted_quality(targets, probabilities, thresholds, np.zeros((2, 80)))
