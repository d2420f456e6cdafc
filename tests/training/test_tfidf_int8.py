"""The INT8 baseline in the store: fitted once, served with its own thresholds, built again when damaged."""

from pathlib import Path

import numpy as np
import pytest

from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline
from clinlm.store.content import verify
from clinlm.tasks.entities import Entities
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8


def test_it_is_fitted_once(task: MultiLabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = TfidfInt8(tmp_path / "store", "key")
    (first, cached), (again, there) = member.fitted(task), member.fitted(task)
    assert (cached, there) == (False, True) and first.vocabulary == again.vocabulary
    assert {*verify(member.folder)["files"]} == {*INT8_FILES, "serving.json"}
    logits = member.split_logits(task, "test")
    np.testing.assert_allclose(logits, first.logits(task.texts("test")), rtol=1e-5)
    monkeypatch.setattr(Int8Baseline, "fit", lambda *_: pytest.fail("it was fitted already"))
    monkeypatch.setattr(Int8Baseline, "logits", lambda *_: pytest.fail("they are kept"))
    np.testing.assert_array_equal(member.split_logits(task, "test"), logits)
    assert Tfidf(tmp_path / "store", "key").fitted(task)[1], "the whole was fitted before it"


def test_thresholds_and_sets_are_of_its_own_probabilities(task: MultiLabel, tmp_path: Path) -> None:
    member = TfidfInt8(tmp_path / "store", "key")
    model, _ = member.fitted(task)
    config, own = InferenceConfig.load(member.folder), model.probabilities(task.texts("validation"))
    assert config.thresholds == pytest.approx(task.fit_thresholds(own), abs=1e-6)
    assert config.conformal == task.fit_conformal(config.probabilities(member.split_logits(task, "validation")))


def test_a_damaged_one_is_fitted_again(task: MultiLabel, tmp_path: Path) -> None:
    member = TfidfInt8(tmp_path / "store", "key")
    first, _ = member.fitted(task)
    content = (member.folder / "weights.zlib").read_bytes()
    (member.folder / "weights.zlib").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again, cached = member.fitted(task)
    assert not cached and again.vocabulary == first.vocabulary
    np.testing.assert_array_equal(again.weights, first.weights)


def test_words_are_read_with_their_neighbours(entities: Entities, tmp_path: Path) -> None:
    member = TfidfInt8(tmp_path / "store", "key")
    model, _ = member.fitted(entities)
    logits = member.split_logits(entities, "test")
    assert logits.shape == (len(entities.examples.units("test")), len(entities.examples.labels))
    probabilities = entities.probabilities(logits)
    assert np.allclose(probabilities.sum(1), 1) and model.vocabulary
    assert any(term.startswith("c_") for term in model.vocabulary)
