"""The INT8 baseline in the store: fitted once, served with its own thresholds, built again when damaged."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from clinlm.config.errors import DataError
from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline
from clinlm.store.content import read_record, verify
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
    assert {read_record(own.folder)["task"] for own in (member, Tfidf(tmp_path / "store", "key"))} == {"key"}
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


def test_terms_of_few_patients_stay_in_the_store(task: MultiLabel, tmp_path: Path) -> None:
    """By hand: the patients of every term of the training texts, as scikit-learn reads terms."""
    read = TfidfVectorizer(ngram_range=(1, 2), strip_accents="unicode").build_analyzer()
    found = defaultdict[str, set[str]](set)
    patients = task.examples.frame["group"].gather(task.examples.members("train")).to_list()
    for patient, text in zip(patients, task.texts("train"), strict=True):
        for term in set(read(text)):
            found[term].add(patient)
    small = TfidfInt8(tmp_path, "key").fitted(task)[0]
    whole = Tfidf(tmp_path, "key").fitted(task)[0]
    rare = {term for term in whole.vocabulary if len(found[term]) < task.min_groups}
    assert task.min_groups == 5 and rare and small.rare == len(rare) and not rare & {*small.vocabulary}
    told = [read_record(member.folder)["vocabulary"] for member in (TfidfInt8(tmp_path, "key"), Tfidf(tmp_path, "key"))]
    assert told[0] == {"kept": len(small.vocabulary), "rare": len(rare), "min_groups": 5}
    assert told[1] == {"kept": len(whole.vocabulary), "rare": 0, "min_groups": 1}
    assert Int8Baseline.load(TfidfInt8(tmp_path, "key").folder).rare == len(rare)


def test_without_a_term_of_enough_patients_there_is_no_baseline_to_copy(
    task: MultiLabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(task), "min_groups", 10_000)
    law = "terms that at least 10000 groups .* have, got none in .* lower task.min_groups"
    with pytest.raises(DataError, match=law):
        TfidfInt8(tmp_path, "key").fitted(task)
