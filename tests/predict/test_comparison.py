"""The comparison of two models: by windows as in one go, kept and taken up again; and drift that was planted."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clinlm.predict.document_comparison import DocumentComparison
from clinlm.predict.drift import EDGES, histogram, holm, mcnemar_p, stability, stability_p
from clinlm.predict.drift_monitor import PERIODS
from clinlm.predict.predictions import DocumentPredictions

LABELS = ("a", "b", "c")


def judged(probabilities: np.ndarray) -> DocumentPredictions:
    return DocumentPredictions(probabilities, probabilities >= 0.5)


def random_pair(
    rng: np.random.Generator, documents: int, shift: float = 0.0
) -> tuple[DocumentPredictions, DocumentPredictions]:
    first = rng.beta(1, 3, (documents, 3))
    first[:, 1] = np.clip(first[:, 1] + shift, 0, 1)
    return judged(first), judged(np.clip(first + rng.normal(0, 0.05, first.shape), 0, 1))


def test_windows_and_resuming_change_nothing_that_is_counted() -> None:
    rng = np.random.default_rng(0)
    pairs = [random_pair(rng, many) for many in (40, 0, 25, 60, 3)]
    shadow = DocumentComparison(LABELS, None)
    for a, b in pairs:
        shadow.add(a, b)
        shadow = DocumentComparison(
            LABELS, json.loads(json.dumps(shadow.counts()))
        )  # as a run that is killed and goes on
    a, b = (np.concatenate([pair[side].decided for pair in pairs]) for side in (0, 1))
    p, q = (np.concatenate([pair[side].probabilities for pair in pairs]) for side in (0, 1))
    told = shadow.summary()
    assert told["documents"] == 128
    assert told["agreement"]["documents"] == pytest.approx((a == b).all(axis=1).mean())
    assert told["agreement"]["decisions"] == pytest.approx((a == b).mean())
    assert told["agreement"]["mean_absolute_difference"] == pytest.approx(np.abs(p - q).mean())
    assert told["agreement"]["largest_difference"] == np.abs(p - q).max()
    for place, label in enumerate(LABELS):
        at = told["labels"][label]
        assert at["agreement"] == pytest.approx((a == b)[:, place].mean())
        assert (at["rate"], at["shadow_rate"]) == pytest.approx((a[:, place].mean(), b[:, place].mean()))
        assert at["only_artifact"] == (a & ~b)[:, place].sum() and at["only_shadow"] == (b & ~a)[:, place].sum()
        assert at["mcnemar_p"] <= at["mcnemar_p_corrected"] <= 1
        pair = [np.bincount(np.digitize(one[:, place], EDGES), minlength=10) for one in (p, q)]
        assert at["stability_between_models"] == pytest.approx(stability(*pair))
    assert [one["documents"] for one in told["periods"]] == [40, 25, 60, 3]


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_planted_drift_is_found_and_none_where_there_is_none(shift: float) -> None:
    rng, shadow = np.random.default_rng(5), DocumentComparison(LABELS, None)
    for window in range(6):
        shadow.add(*random_pair(rng, 400, shift if window else 0.0))
    drift = shadow.summary()["drift"]
    for model in ("artifact", "shadow"):
        assert drift[model]["shifted"] == (["b"] if shift else [])


def test_nothing_is_said_of_drift_within_one_window() -> None:
    shadow = DocumentComparison(LABELS, None)
    assert shadow.summary()["drift"] is None, "nor without any"
    shadow.add(*random_pair(np.random.default_rng(0), 10))
    assert shadow.summary()["drift"] is None


def test_periods_stay_few_and_lose_no_document() -> None:
    shadow, rng = DocumentComparison(LABELS, None), np.random.default_rng(0)
    pairs = [random_pair(rng, 1 + window % 3) for window in range(5 * PERIODS)]
    for a, b in pairs:
        shadow.add(a, b)
    periods = shadow.summary()["periods"]
    assert PERIODS // 2 <= len(periods) <= PERIODS
    assert sum(one["documents"] for one in periods) == sum(len(a.decided) for a, _ in pairs)
    yes = sum(one["documents"] * one["shadow"]["c"] for one in periods)
    assert yes == pytest.approx(sum(b.decided[:, 2].sum() for _, b in pairs))


def test_the_index_by_hand() -> None:
    # Shares with half a document more: 10.5/21, 10.5/21 and 5.5/21, 15.5/21; the bin that nobody used is left out.
    p, q = np.array([10.5, 10.5]) / 21, np.array([5.5, 15.5]) / 21
    by_hand = (p[0] - q[0]) * np.log(p[0] / q[0]) + (p[1] - q[1]) * np.log(p[1] / q[1])
    assert stability(np.array([10, 0, 10]), np.array([5, 0, 15])) == pytest.approx(by_hand)
    with pytest.raises(ValueError, match="must not be empty"):
        stability(np.array([1]), np.array([0]))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.lists(st.integers(0, 50), min_size=2, max_size=8))
def test_the_index_is_symmetric_not_negative_and_zero_for_the_same(a: list[int], b: list[int]) -> None:
    size = min(len(a), len(b))
    one, other = np.array(a[:size]) + np.eye(size, dtype=int)[0], np.array(b[:size]) + np.eye(size, dtype=int)[0]
    assert stability(one, other) == pytest.approx(stability(other, one)) and stability(one, other) >= 0
    assert stability(one, one) == pytest.approx(0) and 0 <= stability_p(one, other) <= 1


def test_the_test_of_the_index_is_wrong_as_often_as_it_says() -> None:
    rng, shares = np.random.default_rng(0), np.full(10, 0.1)
    values = [stability_p(rng.multinomial(800, shares), rng.multinomial(2000, shares)) for _ in range(1000)]
    assert 0.03 < np.mean(np.array(values) < 0.05) < 0.07


def test_every_probability_is_in_one_bin() -> None:
    values = np.array([[0.0, 1.0], [0.001, 0.9], [0.5, 0.4999]])
    assert histogram(values, EDGES).sum(axis=1).tolist() == [3, 3]
    assert (
        histogram(np.array([[0.95]]), EDGES).argmax() == len(EDGES)
        and histogram(np.array([[0.0]]), EDGES).argmax() == 0
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_step_by_step(values: list[float]) -> None:
    order: list[Any] = sorted(range(len(values)), key=lambda place: values[place])
    slow = {
        place: max(values[order[k]] * (len(values) - k) for k in range(rank + 1)) for rank, place in enumerate(order)
    }
    assert holm(values) == pytest.approx([min(1.0, slow[place]) for place in range(len(values))])


def test_mcnemar_counts_only_where_they_differ() -> None:
    assert mcnemar_p(0, 0) == 1.0 and mcnemar_p(3, 3) == 1.0
    assert mcnemar_p(0, 6) == pytest.approx(2 * 0.5**6) == stats.binomtest(0, 6).pvalue
