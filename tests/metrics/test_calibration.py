"""Calibration errors are those of torchmetrics and of a plain loop; temperatures undo what heat did."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from clinlm.metrics.bootstrap import draw
from clinlm.metrics.calibration import calibration_change, fit_temperature, log_loss, measure_calibration


def sample(seed: int, documents: int = 120, labels: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.7, 1.5, (documents, labels))
    return rng.random(probabilities.shape) < probabilities**1.5, probabilities


def one_of(seed: int, documents: int = 120, labels: int = 4) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (documents, labels))
    truth = (softmax(logits / 2, axis=1).cumsum(1) > rng.random((documents, 1))).argmax(1)
    return np.eye(labels, dtype=bool)[truth], logits


def slow_ece(truth: Any, confidence: Any, bins: int) -> float:
    total = 0.0
    for number in range(bins):
        last = number == bins - 1
        inside = [
            (t, c)
            for t, c in zip(truth, confidence, strict=True)
            if number / bins <= c and (c < (number + 1) / bins or last)
        ]
        if inside:
            observed, said = np.mean([t for t, _ in inside]), np.mean([c for _, c in inside])
            total += len(inside) / len(truth) * abs(observed - said)
    return total


@pytest.mark.parametrize("bins", (5, 15))
def test_multilabel_error_is_the_mean_over_labels(bins: int) -> None:
    targets, probabilities = sample(0)
    found = measure_calibration(targets, probabilities, "multilabel", bins, resamples=5).ece.value
    theirs = [
        float(binary_calibration_error(torch.from_numpy(p), torch.from_numpy(t), n_bins=bins))
        for p, t in zip(probabilities.T.copy(), targets.T.copy(), strict=True)
    ]
    slow = [slow_ece(t, p, bins) for t, p in zip(targets.T, probabilities.T, strict=True)]
    assert found == pytest.approx(np.mean(slow)) and found == pytest.approx(np.mean(theirs), abs=1e-6)


def test_multiclass_error_is_that_of_the_most_probable_label() -> None:
    targets, logits = one_of(1)
    probabilities = softmax(logits, axis=1)
    found = measure_calibration(targets, probabilities, "multiclass", resamples=5)
    truth = torch.from_numpy(targets.argmax(1))
    theirs = multiclass_calibration_error(torch.from_numpy(probabilities), truth, num_classes=4, n_bins=15)
    assert found.ece.value == pytest.approx(float(theirs), abs=1e-6)
    top = probabilities.argmax(1)
    right = targets[np.arange(120), top]
    assert found.ece.value == pytest.approx(slow_ece(right, probabilities.max(1), 15))
    assert found.brier.value == pytest.approx(np.square(targets - probabilities).sum(1).mean())
    assert sum(each.count for each in found.curve) == 120


def test_three_answers_by_hand() -> None:
    targets = np.array([[1], [0], [1]])
    found = measure_calibration(targets, np.array([[0.9], [0.2], [0.3]]), "multilabel", bins=2, resamples=5)
    # Below one half: said .25, seen .5, two of three answers; above: said .9, seen 1, one of three.
    assert found.ece.value == pytest.approx((2 * 0.25 + 0.1) / 3)
    assert found.brier.value == pytest.approx((0.01 + 0.04 + 0.49) / 3)
    below, above = found.curve
    assert (below.count, below.confidence, below.frequency.value) == (2, pytest.approx(0.25), pytest.approx(0.5))
    assert (above.count, above.confidence, above.frequency.value) == (1, pytest.approx(0.9), pytest.approx(1.0))


def test_change_is_the_difference_and_its_interval_that_of_repeated_documents() -> None:
    targets, probabilities = sample(2)
    other = probabilities**2
    change = calibration_change(targets, probabilities, other, "multilabel", resamples=40, seed=1)["ece"]
    a, b = (measure_calibration(targets, each, "multilabel", resamples=5).ece.value for each in (probabilities, other))
    assert change.value == pytest.approx(b - a)
    slow = []
    for count in draw(120, 40, 1):
        rows = np.repeat(np.arange(120), count.astype(int))
        both = [
            np.mean([slow_ece(targets[rows, label], each[rows, label], 15) for label in range(3)])
            for each in (probabilities, other)
        ]
        slow.append(both[1] - both[0])
    low, high = np.percentile(slow, (2.5, 97.5))
    ends = min(low, 2 * change.value - high), max(high, 2 * change.value - low)
    assert (change.low, change.high) == pytest.approx(ends) and change.low < change.value < change.high


def test_noise_alone_is_no_miscalibration() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.random((300, 4))
    targets = rng.random((300, 4)) < probabilities
    found = measure_calibration(targets, probabilities, "multilabel", resamples=100)
    assert found.ece.value > 0.04 and found.chance == pytest.approx(found.ece.value, rel=0.25)
    assert found.ece.low < found.chance < found.ece.high
    drawn = [(rng.random((300, 4)) < probabilities, probabilities) for _ in range(20)]
    slow = [np.mean([slow_ece(t, p, 15) for t, p in zip(y.T, x.T, strict=True)]) for y, x in drawn]
    assert found.chance == pytest.approx(np.mean(slow), rel=0.1)
    wrong = measure_calibration(rng.random((300, 4)) < probabilities**3, probabilities, "multilabel", resamples=100)
    assert wrong.ece.low > 2 * wrong.chance


@pytest.mark.parametrize("heat", (0.3, 1.0, 4.0))
@pytest.mark.parametrize("kind", ("multilabel", "multiclass"))
def test_temperature_undoes_heat(heat: float, kind: Any) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (4000, 4))
    if kind == "multilabel":
        targets = rng.random(logits.shape) < expit(logits)
    else:
        targets = np.eye(4, dtype=bool)[(softmax(logits, 1).cumsum(1) > rng.random((4000, 1))).argmax(1)]
    assert fit_temperature(heat * logits, targets, kind) == pytest.approx(heat, rel=0.1)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from((0.01, 1.0, 200.0)), st.sampled_from(("multilabel", "multiclass")))
def test_temperature_is_positive_and_never_worse_than_none(seed: int, scale: float, kind: Any) -> None:
    targets, logits = one_of(seed, documents=7)
    found = fit_temperature(scale * logits, targets, kind)
    before, after = (log_loss(scale * logits / each, targets.astype(float), kind) for each in (1.0, found))
    assert found > 0 and after <= before


def test_misfits_are_refused() -> None:
    targets, probabilities = sample(0)
    with pytest.raises(ValueError, match="bin"):
        measure_calibration(targets, probabilities, "multilabel", bins=0)
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(np.full((2, 2), np.inf), np.ones((2, 2), dtype=bool), "multilabel")
