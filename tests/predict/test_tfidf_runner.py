"""The TF-IDF baselines are served like any other model: each answers as its row of the table does."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinlm.corpora.table import Table
from clinlm.metrics.baseline import FILES
from clinlm.metrics.int8_baseline import INT8_FILES
from clinlm.store.content import RECORD, Damaged
from clinlm.tasks.base import Task
from clinlm.tasks.entities import Entities
from clinlm.tasks.inference_config import SERVING, InferenceConfig
from clinlm.tasks.multiclass import MultiClass
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.tfidf_int8 import TfidfInt8

Run = Callable[..., Any]
Member = type[Tfidf] | type[TfidfInt8]

both = pytest.mark.parametrize("kind", [Tfidf, TfidfInt8])


@pytest.fixture(scope="module", params=[MultiLabel, MultiClass])
def labelled(request: pytest.FixtureRequest, notes_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    corpus = partial(Table, text="text", labels="labels", id="id", group="group", delimiter=";")
    store = tmp_path_factory.mktemp("store")
    task: Task = request.param(corpus, str(notes_csv), Head(), labels=4, shares=(0.6, 0.2, 0.2)).open(store, "key")
    return task


def served(task: Task, tmp_path: Path, kind: Member) -> tuple[Tfidf | TfidfInt8, Path]:
    """Return a baseline of a task, and a copy of what is served: without record and cached logits."""
    assert task.folder is not None
    member, folder = kind(task.folder.parent, "key"), tmp_path / "copied"
    member.fitted(task)
    folder.mkdir()
    for name in (*(FILES if kind is Tfidf else INT8_FILES), SERVING):
        shutil.copy(member.folder / name, folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) == member.bytes, "the bytes of the table"
    return member, folder


@both
def test_labels_are_those_of_the_row_of_the_table(
    kind: Member, labelled: Task, run: Run, answers: Any, write_notes: Any, tmp_path: Path
) -> None:
    member, folder = served(labelled, tmp_path, kind)
    notes = [(str(number), text) for number, text in enumerate(labelled.texts("test"))]
    run(write_notes(notes, tmp_path / "notes.csv"), tmp_path / "out.jsonl", artifact=folder, shadow=member.folder)
    found, labels = answers(tmp_path / "out.jsonl"), labelled.examples.labels
    expected = labelled.probabilities(member.split_logits(labelled, "test"))
    values = np.array([[item["probabilities"][label] for label in labels] for item in found])
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    thresholds = labelled.fit_thresholds(labelled.probabilities(member.split_logits(labelled, "validation")))
    decided = InferenceConfig.load(folder).decide(expected)
    assert (decided == labelled.evaluate("test", expected, thresholds).decisions).all()
    assert [item["labels"] for item in found] == [[*np.array(labels)[row]] for row in decided]
    assert [item["shadow_labels"] for item in found] == [item["labels"] for item in found]


@both
def test_spans_are_those_of_the_row_of_the_table(
    kind: Member, entities: Entities, run: Run, answers: Any, write_notes: Any, tmp_path: Path
) -> None:
    member, folder = served(entities, tmp_path, kind)
    texts = [*entities.texts("test"), "  ", "\u200b"]
    notes = [(str(number), text) for number, text in enumerate(texts)]
    run(write_notes(notes, tmp_path / "notes.jsonl"), tmp_path / "out.jsonl", artifact=folder, window=2)
    found = [
        [(one["start"], one["end"], one["label"]) for one in item["spans"]] for item in answers(tmp_path / "out.jsonl")
    ]
    row = entities.evaluate("test", entities.probabilities(member.split_logits(entities, "test")), None)
    assert found[:-1] == [[(*span,) for span in own] for own in row.found] and any(found)


@both
def test_a_damaged_folder_answers_nothing(
    kind: Member, labelled: Task, run: Run, write_notes: Any, tmp_path: Path
) -> None:
    member, folder = served(labelled, tmp_path, kind)
    shutil.copy(member.folder / RECORD, folder)
    (folder / SERVING).write_text((folder / SERVING).read_text().replace("asthma", "asthna"))
    with pytest.raises(Damaged, match="is not the file that was recorded"):
        run(write_notes([("1", "a cough")], tmp_path / "notes.csv"), tmp_path / "out.csv", artifact=folder)
