"""Regressions of many labels at once: they are those that liblinear finds one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from clinlm.metrics import baseline
from clinlm.metrics.baseline import TfidfBaseline, fit_regressions
from clinlm.metrics.int8_baseline import Int8Baseline, quantized_weights
from clinlm.metrics.joint_regressions import BLOCK, JointRegressions


def corpus(seed: int, documents: int = 80) -> tuple[list[str], Any]:
    """Label k is there where word k is, most labels in few documents; the last never is, the one before always."""
    random = np.random.default_rng(seed)
    targets = random.random((documents, 9)) < 0.6 / np.arange(1, 10)
    targets[:, 7], targets[:, 8] = True, False
    words = np.array([f"word{number}" for number in range(9)])
    noise = [" ".join(f"noise{number}" for number in random.integers(0, 40, 12)) for _ in range(documents)]
    return [" ".join(words[own]) + " " + other for own, other in zip(targets, noise, strict=True)], targets


def table(documents: int, labels: int) -> tuple[csr_array, Any]:
    """Sparse rows of length 1, and labels with few to many positives that depend on them."""
    random = np.random.default_rng(0)
    values = random.random((documents, 50)) * (random.random((documents, 50)) < 0.2)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    scores = values @ random.normal(size=(50, labels)) + 0.2 * random.normal(size=(documents, labels))
    share = np.linspace(2 / documents, 0.5, labels)
    return csr_array(values.astype(np.float32)), scores >= np.quantile(scores, 1 - share, axis=0).diagonal()


@pytest.mark.parametrize("few", [60, 59], ids=["by products of documents", "by terms"])
def test_each_regression_is_that_of_its_own_label(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinlm.metrics.joint_regressions.FEW", few)
    rows, targets = table(60, 10)
    others = table(50, 3)[0]
    left: list[float] = []

    def alone(own: Any, strength: float) -> tuple[Any, Any]:
        left.append(strength)
        return fit_regressions(rows, own, strength)

    together, duals = JointRegressions(rows, alone), np.zeros((10, 60), np.float32)
    for strength in (1.0, 10.0, 100.0, 1000.0):
        together.fit(targets, strength, duals)
        slow, bias = fit_regressions(rows, targets, strength)
        expected = others @ slow.T + bias
        np.testing.assert_allclose(together.products(others) @ duals.T, expected, atol=0.03)
        weights, own_bias = together.weights(duals)
        np.testing.assert_allclose(others @ weights.astype(np.float32) + own_bias, expected, atol=0.06)
    assert left.count(1.0) == left.count(10.0) == 0, "otherwise this compares liblinear with itself"


@pytest.mark.parametrize("few", [40, 39], ids=["by products of documents", "by terms"])
def test_blocks_do_not_influence_each_other(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinlm.metrics.joint_regressions.FEW", few)
    rows, targets = table(40, 12)
    found = []
    for size in (BLOCK, 5):
        monkeypatch.setattr("clinlm.metrics.joint_regressions.BLOCK", size)
        monkeypatch.setattr("clinlm.metrics.joint_regressions._NARROW", size)
        together, duals = JointRegressions(rows, lambda *_: pytest.fail("it is solved")), np.zeros((12, 40), np.float32)
        together.fit(targets, 1.0, duals)
        found.append(np.vstack([together.products(rows) @ duals.T, together.weights(duals)[0]]))
    np.testing.assert_allclose(*found, atol=2e-3)


def test_a_baseline_of_many_labels_is_that_of_few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = *corpus(0), *corpus(1, 40)
    texts = corpus(2)[0]
    few = TfidfBaseline.fit(*data)
    monkeypatch.setattr(baseline, "MANY_LABELS", 9)
    many = TfidfBaseline.fit(*data)
    assert many.weights.dtype == np.float16 and few.weights.dtype == np.float32
    assert many.strength == few.strength and many.parameters == few.parameters
    np.testing.assert_allclose(many.logits(texts), few.logits(texts), atol=0.03)
    np.testing.assert_allclose(many.probabilities(texts)[:, 7:], [[81 / 82, 1 / 82]] * 80, rtol=1e-3)
    again = TfidfBaseline.fit_at(*data[:2], many.strength)
    np.testing.assert_allclose(again.logits(texts), many.logits(texts), atol=0.03)
    many.save(tmp_path)
    loaded = TfidfBaseline.load(tmp_path)
    np.testing.assert_array_equal(loaded.logits(texts), many.logits(texts))
    small = Int8Baseline.fit(many, *data)
    own, scales = quantized_weights(many.weights)
    assert len(small.vocabulary) <= len(many.vocabulary)
    np.testing.assert_allclose(own * scales, many.weights.T, atol=float(scales.max()) / 2 + 1e-6)
    assert (small.probabilities(texts)[:, 1:4] > 0.5).any()


def test_settings_are_chosen_by_some_labels_and_all_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    data, texts = (*corpus(0), *corpus(1, 40)), corpus(2)[0]
    monkeypatch.setattr(baseline, "MANY_LABELS", 5)
    monkeypatch.setattr(baseline, "FEW", 79)
    monkeypatch.setattr(baseline, "_PART", 4 * 80)  # four labels at once
    monkeypatch.setattr("clinlm.metrics.joint_regressions._STEPS", 400)  # all labels get to their optimum
    seen: list[int] = []
    ranking = baseline.validation_ranking

    def seen_ranking(found: Any, held: Any) -> float:
        seen.append(held.shape[1])
        return ranking(found, held)

    monkeypatch.setattr(baseline, "validation_ranking", seen_ranking)
    many = TfidfBaseline.fit(*data)
    assert set(seen) == {5} and many.weights.shape[0] == 9
    some = baseline.some_labels(data[1])
    assert len(set(some.tolist())) == 5 and {7, 8} <= set(some.tolist()), "the most frequent and the rarest"
    monkeypatch.setattr(baseline, "MANY_LABELS", 100)
    alone = TfidfBaseline.fit_at(*data[:2], many.strength)
    np.testing.assert_allclose(many.logits(texts), alone.logits(texts), atol=0.03)
    monkeypatch.setattr(baseline, "MANY_LABELS", 5)
    small = Int8Baseline.fit(many, *data)
    assert small.weights.shape[1] == 9
    assert (small.probabilities(texts)[:, 1:4] > 0.5).any()
