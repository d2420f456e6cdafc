"""TF-IDF as a teacher: no training document is answered by a model that has seen its group."""

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from clinlm.corpora.table import Table
from clinlm.metrics.baseline import TfidfBaseline
from clinlm.tasks.base import Task
from clinlm.tasks.multiclass import MultiClass
from clinlm.tasks.multilabel import MultiLabel
from clinlm.tasks.transfer_set import TransferSet
from clinlm.text.long_notes import Head
from clinlm.training.teachers.cached_logits import networks, teacher_logits
from clinlm.training.teachers.tfidf import FOLDS, Tfidf


@pytest.fixture
def member(tmp_path: Path) -> Tfidf:
    return Tfidf(tmp_path / "store", "key")


class Watched:
    """Every fit of a fold (texts, strength), and every question (texts, those that the asked was fitted on)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fits: list[tuple[set[str], float]] = []
        self.asked: list[tuple[set[str], set[str]]] = []
        models: list[tuple[TfidfBaseline, set[str]]] = []
        fit_at, logits = TfidfBaseline.fit_at, TfidfBaseline.logits

        def fitted(texts: Sequence[str], targets: Any, strength: float) -> TfidfBaseline:
            models.append((fit_at(texts, targets, strength), set(texts)))
            self.fits.append((set(texts), strength))
            return models[-1][0]

        def answered(asked: TfidfBaseline, texts: Sequence[str]) -> Float[np.ndarray, "documents labels"]:
            self.asked.append((set(texts), next((seen for one, seen in models if one is asked), set())))
            return logits(asked, texts)

        monkeypatch.setattr(TfidfBaseline, "fit_at", fitted)
        monkeypatch.setattr(TfidfBaseline, "logits", answered)


def groups(task: Task, texts: set[str]) -> set[str]:
    rows = task.examples.frame.filter(task.examples.frame["text"].is_in(list(texts)))
    return set(rows["group"])


def test_no_document_is_answered_by_who_saw_its_group(
    task: MultiLabel, member: Tfidf, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    found = member.training_logits(task, "32-true")
    train = task.texts("train")
    assert found.shape == (len(train), 4) and np.isfinite(found).all()
    folds = [(asked, seen) for asked, seen in watched.asked if seen]
    assert len(folds) == len(watched.fits) == FOLDS
    assert sorted(text for asked, _ in folds for text in asked) == sorted(train), "every document once"
    for asked, seen in folds:
        assert not groups(task, asked) & groups(task, seen) and asked | seen == set(train)
    baseline, _ = member.fitted(task)
    assert {strength for _, strength in watched.fits} == {baseline.strength}


def test_a_document_that_was_seen_is_nearly_certain_and_one_that_was_not_is_less(
    task: MultiLabel, member: Tfidf
) -> None:
    """Why: in the logits of the whole baseline a student finds nothing but the labels."""
    truth = task.examples.targets[task.examples.members("train")]
    seen = member.fitted(task)[0].logits(task.texts("train"))
    crossed = member.training_logits(task, "32-true")
    losses = [np.logaddexp(0, -np.where(truth, each, -each)).mean() for each in (seen, crossed)]
    assert losses[1] > 1.5 * losses[0]


def test_answers_are_kept(task: MultiLabel, member: Tfidf, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = TransferSet("k", task.texts("train")[:5])

    def answers(precision: str) -> list[Float[np.ndarray, "documents labels"]]:
        own = [member.training_logits(task, precision), member.transfer_logits(task, precision, texts)]
        return [*own, member.split_logits(task, "validation"), member.split_logits(task, "test")]

    first = answers("32-true")
    for name in ("fit", "fit_at", "logits"):
        monkeypatch.setattr(TfidfBaseline, name, lambda *_: pytest.fail("it is there"))
    assert all(np.array_equal(a, b) for a, b in zip(first, answers("bf16-mixed"), strict=True))


def test_texts_made_of_training_documents_are_answered_as_if_these_were_unseen(task: MultiLabel, member: Tfidf) -> None:
    """A shuffled document has the same words: it must get what its origin got, by the model that has not seen it."""
    train = task.texts("train")
    order = np.random.default_rng(0).permutation(len(train))
    texts = TransferSet("k", [train[number] for number in order])
    np.testing.assert_allclose(
        member.transfer_logits(task, "32-true", texts), member.training_logits(task, "32-true")[order], atol=1e-5
    )


def test_folds_are_fitted_once_for_documents_and_texts(
    task: MultiLabel, member: Tfidf, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, texts = Watched(monkeypatch), TransferSet("k", task.texts("train")[3:9])
    logits = teacher_logits([member], None, task, "32-true", texts)
    assert len(watched.fits) == FOLDS
    own = Tfidf(member.root / "other", "key").training_logits(task, "32-true")
    np.testing.assert_array_equal(logits[task.examples.members("train")], own)
    np.testing.assert_allclose(logits[len(task.examples.frame) :], own[3:9], atol=1e-5)


def test_validation_and_test_are_those_of_the_baseline(task: MultiLabel, member: Tfidf) -> None:
    model, whole = member.fitted(task)
    assert not whole and member.fitted(task)[1]
    for split in ("validation", "test"):
        expected = model.probabilities(task.texts(split))
        np.testing.assert_allclose(task.probabilities(member.split_logits(task, split)), expected, atol=1e-6)
    costs = member.cost()
    assert (costs.parameters, costs.nonzero, costs.bytes) == (model.parameters, model.nonzero, member.bytes)
    assert member.artifact is None and member.name == "tfidf"


def test_keys_are_of_the_task_and_the_code(task: MultiLabel, tmp_path: Path) -> None:
    keys = [Tfidf(tmp_path / store, key).key for store, key in (("a", "k"), ("b", "k"), ("a", "other"))]
    assert keys[0] == keys[1] != keys[2]


def test_shares_are_those_of_the_regressions(notes_csv: Path, tmp_path: Path) -> None:
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    task = MultiClass(corpus, str(notes_csv), Head(), labels=4, max_tokens=32, shares=(0.6, 0.2, 0.2))
    task.open(tmp_path / "store", "key")
    member = Tfidf(tmp_path / "store", "key")
    single = member.fitted(task)[0].probabilities(task.texts("test"))
    found = task.probabilities(member.split_logits(task, "test"))
    np.testing.assert_allclose(found, single / single.sum(1, keepdims=True), atol=1e-6)


def test_one_group_cannot_be_crossed(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "group", "text", "labels"])
        for number in range(12):
            sign = "cough" if number % 2 else "wheeze"
            label = "flu" if number % 2 else "asthma"
            writer.writerow([number, f"p{min(number // 2, 2)}", f"{sign} today {number}", label])
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    task = MultiLabel(corpus, str(path), Head(), labels=2, max_tokens=32, shares=(0.8, 0.1, 0.1))
    task.open(tmp_path / "store", "key")
    assert task.examples.frame["group"].gather(task.examples.members("train")).n_unique() == 1
    if not task.examples.targets[task.examples.members("validation")].any():
        pytest.fail("the split of this corpus has changed: no label in validation")
    with pytest.raises(ValueError, match="at least 2 groups, got 1"):
        Tfidf(tmp_path / "store", "key").training_logits(task, "32-true")


def test_it_has_no_network(member: Tfidf) -> None:
    assert networks([member]) == []
