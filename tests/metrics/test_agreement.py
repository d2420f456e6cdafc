"""Agreement is what scikit-learn counts, and never more certain than its documents allow."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from clinlm.metrics.agreement import measure_agreement
from clinlm.metrics.bootstrap import draw


def decisions(seed: int, documents: int = 60, labels: int = 4) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    a = rng.random((documents, labels)) < 0.3
    return a, a ^ (rng.random(a.shape) < 0.1)


def classes(seed: int, documents: int = 60, labels: int = 4) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    a = rng.integers(labels, size=documents)
    b = np.where(rng.random(documents) < 0.2, rng.integers(labels, size=documents), a)
    return np.eye(labels, dtype=bool)[a], np.eye(labels, dtype=bool)[b]


def test_three_documents_by_hand() -> None:
    a = np.array([[1, 0], [0, 0], [1, 1]], dtype=bool)
    b = np.array([[1, 0], [0, 1], [0, 0]], dtype=bool)
    found = measure_agreement(a, b, "multilabel", resamples=20)
    assert found.cells.value == pytest.approx(3 / 6) and found.documents.value == pytest.approx(1 / 3)
    # a says yes 3 of 6 times, b 2 of 6: by chance 1/2 * 1/3 + 1/2 * 2/3 = 1/2, which is what is seen.
    assert found.kappa.value == pytest.approx(0)


@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_scikit_learn(seed: int) -> None:
    a, b = decisions(seed)
    assert measure_agreement(a, b, "multilabel", 5).kappa.value == pytest.approx(
        cohen_kappa_score(a.ravel(), b.ravel())
    )
    a, b = classes(seed)
    expected = cohen_kappa_score(a.argmax(1), b.argmax(1))
    assert measure_agreement(a, b, "multiclass", 5).kappa.value == pytest.approx(expected)


def test_intervals_are_percentiles_of_repeated_documents() -> None:
    a, b = decisions(4)
    groups = np.arange(60) // 3
    found = measure_agreement(a, b, "multilabel", resamples=50, seed=2, groups=groups)
    slow = []
    for count in draw(60, 50, 2, groups):
        rows = np.repeat(np.arange(60), count.astype(int))
        same = a[rows] == b[rows]
        slow.append([same.mean(), same.all(1).mean(), cohen_kappa_score(a[rows].ravel(), b[rows].ravel())])
    ends = np.percentile(slow, (2.5, 97.5), axis=0).T
    most = (0.025 ** (1 / 20), 0.025 ** (1 / 20), 1.0)  # of 20 groups
    for each, (low, high), bound in zip((found.cells, found.documents, found.kappa), ends, most, strict=True):
        assert (each.low, each.high) == pytest.approx((min(low, bound), high))


def test_agreement_without_exception_is_as_certain_as_the_documents_are_many() -> None:
    a, _ = decisions(5)
    found, few = (
        measure_agreement(a, a, "multilabel", 10),
        measure_agreement(a, a, "multilabel", 10, groups=np.arange(60) // 20),
    )
    assert found.cells.value == found.documents.value == found.kappa.value == 1
    assert found.documents.low == pytest.approx(0.94, abs=0.005) and few.documents.low == pytest.approx(0.292, abs=1e-3)
    # Clopper and Pearson: with 2.5 % chance all 60 documents agree although only this share of all documents does.
    assert found.documents.low**60 == pytest.approx(0.025)


@pytest.mark.parametrize("documents", [20, 100, 400])
def test_a_disagreement_never_makes_agreement_surer(documents: int) -> None:
    a, _ = decisions(6, documents, 20)
    lows = []
    for wrong in range(6):
        b = a.copy()
        b[:wrong, 0] ^= True
        found = measure_agreement(a, b, "multilabel", 400)
        lows.append(np.array([found.cells.low, found.documents.low]))
    assert all((before >= after).all() for before, after in zip(lows, lows[1:], strict=False))


def test_models_that_say_one_thing_have_no_kappa() -> None:
    nothing = np.zeros((8, 2), dtype=bool)
    assert np.isnan(measure_agreement(nothing, nothing, "multilabel", 5).kappa.value)


def test_misfits_are_refused() -> None:
    a, b = decisions(0)
    with pytest.raises(ValueError, match="two boolean tables"):
        measure_agreement(a[:0], b[:0], "multilabel")
    with pytest.raises(ValueError, match="exactly one label"):
        measure_agreement(a, b, "multiclass")
