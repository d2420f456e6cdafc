"""The INT8 baseline: as good as the whole on validation, read as the whole reads, and found when damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.config.errors import DataError
from clinlm.metrics import int8_baseline, term_counter
from clinlm.metrics.baseline import TfidfBaseline, validation_ranking
from clinlm.metrics.int8_baseline import (
    INT8_FILES,
    TOLERANCE,
    Int8Baseline,
    holds_int8_baseline,
    quantized_weights,
)
from clinlm.metrics.term_model import CARD

WORDS = np.array([f"{first}{second}" for first in "bcdfghjklm" for second in ("an", "el", "ir", "os", "un", "yt")])


def corpus(seed: int, documents: int = 120) -> tuple[list[str], Any]:
    """Label k is likelier where word k is, between words that say nothing; the last label never is."""
    random = np.random.default_rng(seed)
    targets = random.random((documents, 4)) < 0.4
    targets[:, 3] = False
    texts = []
    for row in targets:
        own = WORDS[:3][row[:3] ^ (random.random(3) < 0.1)]
        texts.append(" ".join(random.permutation([*own, *random.choice(WORDS[3:], 30)])))
    return texts, targets


@pytest.fixture(scope="module")
def whole() -> TfidfBaseline:
    return TfidfBaseline.fit(*corpus(0), *corpus(1, 60))


@pytest.fixture(scope="module")
def small(whole: TfidfBaseline) -> Int8Baseline:
    return Int8Baseline.fit(whole, *corpus(0), *corpus(1, 60))


def test_it_is_smaller_and_as_good_on_validation(whole: TfidfBaseline, small: Int8Baseline) -> None:
    texts, targets = corpus(1, 60)
    own, theirs = (validation_ranking(model.probabilities(texts), targets) for model in (small, whole))
    assert own >= theirs - TOLERANCE and len(small.vocabulary) < len(whole.vocabulary)
    assert {*WORDS[:3]} <= {*small.vocabulary} <= {*whole.vocabulary}
    assert [*small.vocabulary] == sorted(small.vocabulary) and small.strength <= whole.strength
    terms = len(small.vocabulary)
    assert small.parameters == 4 * terms + terms + 8 and small.nonzero <= small.parameters - terms - 1


def test_a_constant_label_keeps_its_share(small: Int8Baseline) -> None:
    assert small.probabilities(corpus(2)[0])[:, 3] == pytest.approx(np.full(120, 1 / 122))


def test_logits_are_those_of_the_vectorizer(whole: TfidfBaseline, small: Int8Baseline) -> None:
    """The same computation by scikit-learn, on the same terms, idf values and weights."""
    weights = (small.weights * small.scales).T.astype(np.float32)
    slow = TfidfBaseline(small.vocabulary, small.idf.astype(np.float32), weights, small.bias, small.strength)
    texts = [*corpus(3)[0], "", "Unheard!", "BÁN  ban, bel cir."]
    np.testing.assert_allclose(small.logits(texts), slow.logits(texts), rtol=1e-4, atol=1e-5)
    rows, terms, values = small.vectors(texts)
    dense = np.zeros((len(texts), len(small.vocabulary)))
    dense[rows, terms] = values
    np.testing.assert_allclose(dense, slow.vectors(texts).toarray(), atol=1e-6)


def test_documents_do_not_influence_each_other(small: Int8Baseline, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", *corpus(3)[0]]
    alone = np.vstack([small.logits([text]) for text in texts])
    np.testing.assert_allclose(alone, small.logits(texts), rtol=1e-6)
    monkeypatch.setattr(term_counter, "_SLICE", 7)
    np.testing.assert_allclose(alone, small.logits(texts), rtol=1e-6)
    assert small.probabilities([]).shape == (0, 4)


@given(st.lists(st.floats(-50, 50, width=32, allow_subnormal=False), min_size=1, max_size=9))
def test_integers_are_the_nearest(row: list[float]) -> None:
    weights = np.array([row, [0.0] * len(row)], np.float32)
    integers, scales = quantized_weights(weights)
    assert np.abs(integers).max() <= 127 and (scales > 0).all() and not integers[:, 1].any()
    assert (np.abs(integers * scales - weights.T) <= scales / 2 * (1 + 1e-5)).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_the_smallest_size_that_passes_is_found(count: int) -> None:
    for first in range(count):
        asked: list[int] = []

        def passes(size: int, first: int = first, asked: list[int] = asked) -> bool:
            asked.append(size)
            return size >= first

        assert int8_baseline._smallest(range(count), passes) == first
        assert len(set(asked)) == len(asked) and first in asked


def test_round_trip_is_bit_equal(small: Int8Baseline, tmp_path: Path) -> None:
    small.save(tmp_path / "new" / "folder")
    loaded, texts = Int8Baseline.load(tmp_path / "new" / "folder"), corpus(4)[0]
    np.testing.assert_array_equal(loaded.logits(texts), small.logits(texts))
    assert (loaded.vocabulary, loaded.strength) == (small.vocabulary, small.strength)
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {*INT8_FILES}


def test_each_format_is_read_by_its_own_class(whole: TfidfBaseline, small: Int8Baseline, tmp_path: Path) -> None:
    whole.save(tmp_path / "whole")
    small.save(tmp_path / "small")
    assert [holds_int8_baseline(tmp_path / name) for name in ("whole", "small", "none")] == [False, True, False]
    with pytest.raises(FileNotFoundError):
        TfidfBaseline.load(tmp_path / "small")
    card = json.loads((tmp_path / "small" / CARD).read_text())
    (tmp_path / "small" / CARD).write_text(json.dumps(card | {"version": 2}))
    with pytest.raises(DataError, match="must have the format of this version, .*'coefficients': 'int8'"):
        Int8Baseline.load(tmp_path / "small")


@pytest.mark.parametrize("name", INT8_FILES)
def test_damage_is_found(small: Int8Baseline, tmp_path: Path, name: str) -> None:
    small.save(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="must belong together"):
        Int8Baseline.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Int8Baseline.load(tmp_path)


def test_misfits_are_refused(small: Int8Baseline) -> None:
    with pytest.raises(ValueError, match="must have shapes"):
        Int8Baseline(small.vocabulary[1:], small.idf, small.weights, small.scales, small.bias, 1.0)
