"""Regressions of many labels at once: they are those that liblinear finds one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from clinlm.metrics import baseline
from clinlm.metrics.baseline import TfidfBaseline, fit_regressions
from clinlm.metrics.gram_regressions import BLOCK, GramRegressions
from clinlm.metrics.int8_baseline import Int8Baseline, quantized_weights


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


def test_each_regression_is_that_of_its_own_label() -> None:
    rows, targets = table(60, 10)
    others = table(50, 3)[0]
    left: list[float] = []

    def alone(own: Any, strength: float) -> tuple[Any, Any]:
        left.append(strength)
        return fit_regressions(rows, own, strength)

    together, duals = GramRegressions(rows, alone), np.zeros((10, 60), np.float32)
    for strength in (1.0, 10.0, 100.0, 1000.0):
        together.fit(targets, strength, duals)
        slow, bias = fit_regressions(rows, targets, strength)
        expected = others @ slow.T + bias
        np.testing.assert_allclose(together.products(others) @ duals.T, expected, atol=0.03)
        weights, own_bias = together.weights(duals)
        np.testing.assert_allclose(others @ weights.astype(np.float32) + own_bias, expected, atol=0.06)
    assert left.count(1.0) == left.count(10.0) == 0, "otherwise this compares liblinear with itself"


def test_blocks_do_not_influence_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, targets = table(40, 12)
    found = []
    for size in (BLOCK, 5):
        monkeypatch.setattr("clinlm.metrics.gram_regressions.BLOCK", size)
        together, duals = GramRegressions(rows, lambda *_: pytest.fail("it is solved")), np.zeros((12, 40), np.float32)
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
