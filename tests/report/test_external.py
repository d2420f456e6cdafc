"""Laws of external validation: other documents, the same labels, the answers of the models as they are."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from support.entity_jobs import HUMAN, MARKER, config
from support.reports import result
from support.taggers import notes

from clinlm.config.errors import ConfigError
from clinlm.config.external import external_settings
from clinlm.config.settings import compose, plain
from clinlm.metrics.classification import quality
from clinlm.metrics.term_model import linked_logits
from clinlm.models import artifact
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.scratch import Scratch
from clinlm.pipeline import execution
from clinlm.report.baselines import labeler, tfidf
from clinlm.report.external import ExternalCorpus, open_external, write_external
from clinlm.report.results import Lineage, read_results
from clinlm.report.settings import ReportSettings
from clinlm.store.content import seal, write_json
from clinlm.tasks.entities import Entities
from clinlm.tasks.examples import EVERY
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.teachers.tfidf import Tfidf
from clinlm.training.teachers.trained import Trained

TINY = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TINY |= {"intermediate_size": 16, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    return config(tmp_path_factory.mktemp("external"), MARKER)


@pytest.fixture(scope="module")
def external(made: DictConfig) -> ExternalCorpus:
    task, key = execution.open_task(made)
    return open_external(plain(made.external), task, key, Path(made.store))


@pytest.fixture(scope="module")
def model(external: ExternalCorpus, made: DictConfig) -> Artifact:
    """A network that learned nothing, with what it says of validation and test."""
    torch.manual_seed(0)
    network = Scratch(TINY, vocabulary=150).begin(external.main, None)
    folder = Path(made.store) / "teacher-0"
    folder.mkdir(parents=True)
    artifact.save(network, folder)
    rng = np.random.default_rng(0)
    units = {split: len(external.main.examples.units(split)) for split in ("validation", "test")}
    said = {split: rng.normal(size=(count, 5)).astype(np.float32) for split, count in units.items()}
    artifact.save_predictions(folder, said)
    external.main.inference_config(said["validation"], 64).save(folder)
    write_json(folder / "report.json", {})
    seal(folder, {"key": "0", "stage": "teacher"})
    return Artifact(folder)


def test_labels_are_those_of_the_task_and_seen_texts_are_left_out(external: ExternalCorpus) -> None:
    other = external.task
    assert other.tags == external.main.tags and type(other.labeler) is type(external.main.labeler)
    seen = {text for split in ("train", "validation") for text in external.main.texts(split)}
    texts = other.texts(EVERY)
    assert [number for number, text in enumerate(texts) if text not in seen] == external.documents.tolist()
    count = len(texts) - len(external.documents)
    assert 0 < count <= 6 and external.notices[0].startswith(f"{count} of {len(texts)} documents left out")


def test_answers_are_judged_document_by_document(external: ExternalCorpus) -> None:
    """All documents count, whatever split the other task drew, and what people said is right."""
    units = len(external.task.examples.targets)
    chosen = external.evaluate(np.random.default_rng(1).random((units, 5)))
    assert chosen.documents == len(external.documents) == len(external.groups)
    by_text = {one["text"]: one["spans"] for one in notes()}
    right = external.task.examples.frame[external.documents]
    for text, truth in zip(right["text"].to_list(), chosen.truth, strict=True):
        assert text not in by_text or [one._asdict() for one in truth] == by_text[text]
    assert sum(map(len, chosen.words)) == len(chosen.probabilities)


def test_an_artifact_answers_another_task_once(external: ExternalCorpus, model: Artifact, asked: list[int]) -> None:
    first = Trained(model).all_logits(external.task)
    assert first.shape == (len(external.task.examples.targets), 5) and len(asked) == 1
    assert np.array_equal(Trained(model).all_logits(external.task), first) and len(asked) == 1
    assert all(path.parent.name == "logits" for path in model.folder.rglob(f"{EVERY}-*"))


def test_the_table_has_every_row_and_its_drop(
    external: ExternalCorpus, model: Artifact, made: DictConfig, tmp_path: Path
) -> None:
    task = external.main
    predictor = labeler(task, "teacher")
    assert predictor is not None
    lineage = Lineage(folder=str(model.folder))
    rows = [predictor.result, result("teacher", role="teacher", reference="teacher", lineage=lineage)]
    written = write_external(external, rows, ReportSettings(resamples=40), Path(made.store), tmp_path)
    (said, own), notices = read_results(tmp_path / "external.json")
    assert said.name == "labeler" and "micro_f1" in said.differences and own.differences == {}
    assert [each.name for each in written] == ["labeler", "teacher"]
    there = external.evaluate(external.task.probabilities(Trained(model).all_logits(external.task)))
    here = task.evaluate("test", task.probabilities(model.predictions("test")), None)
    assert own.quality["micro_f1"] == pytest.approx(there.quality()["micro_f1"])
    assert own.drop is not None
    assert own.drop.value == pytest.approx(there.quality()["micro_f1"] - here.quality()["micro_f1"])
    told = external.task.labelled_probabilities(EVERY)
    assert told is not None and external.evaluate(told).quality()["micro_f1"] == said.quality["micro_f1"]
    text = (tmp_path / "external.md").read_text()
    assert "against own test" in text and notices[0] in text and notices[0].startswith(f"{len(external.documents)} ")
    assert not any(one["text"] in text for one in notes())
    json.loads((tmp_path / "external.json").read_text(), parse_constant=pytest.fail)


def _same(made: DictConfig) -> None:
    made.external.root = made.task.root


def _own_labels(made: DictConfig) -> None:
    made.external.labels = ["DISEASE"]


def _other_labels(made: DictConfig) -> None:
    made.external.corpus.map = {"DISEASE": "DISEASE"}


def _other_kind(made: DictConfig) -> None:
    made.external["_target_"] = "clinlm.tasks.multilabel.MultiLabel"


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (_same, "another corpus, but task and external both read notes.jsonl"),
        (_own_labels, "external.labels must be the labels of the task, .* got DISEASE"),
        (_other_labels, "external: task.labels must be labels of the corpus.* set task.labels to labels"),
        (_other_kind, "external must be a task of the same kind, got MultiLabel for Entities"),
    ],
)
def test_misfits_are_refused(tmp_path: Path, change: Callable[[DictConfig], Any], law: str) -> None:
    made = config(tmp_path, HUMAN)
    task, key = execution.open_task(made)
    change(made)
    with pytest.raises(ValueError, match=law):
        open_external(plain(made.external), task, key, Path(made.store))


def test_documents_that_are_all_seen_are_refused(tmp_path: Path) -> None:
    made = config(tmp_path, HUMAN)
    task, key = execution.open_task(made)
    assert isinstance(task, Entities)
    known = set(task.texts("train"))
    seen = [one for one in notes() if one["text"] in known and one["text"].isascii()]  # others change in capitals
    path = tmp_path / "other.jsonl"
    path.write_text("".join(json.dumps(one | {"text": one["text"].upper()}) + "\n" for one in seen))
    with pytest.raises(ValueError, match=f"all {len(seen)} of other.jsonl are in training"):
        open_external(plain(made.external), task, key, Path(made.store))


def _written(path: Path, rows: list[tuple[str, str]]) -> Path:
    header = ("report", "dx") if path.name == "other.csv" else ("text", "labels")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("kind", ["table", "table_multiclass"])
def test_labels_of_another_hospital(tmp_path: Path, kind: str) -> None:
    """One line: what is not set is as in the task; thresholds are those of validation; unknown labels are counted."""
    rng = np.random.default_rng(0)
    signs = {"gout": "toe", "flu": "cough", "asthma": "wheeze"}
    drawn = [str(rng.choice(list(signs))) for _ in range(60)]
    rows = [(f"note {number} {signs[label]} {label[:2]}", label) for number, label in enumerate(drawn)]
    path = _written(tmp_path / "notes.csv", rows)
    known = [label for label in drawn[:20] if label != "flu"]
    strange = [(f"there {number} has a {signs[label]}", label) for number, label in enumerate(known)]
    other = _written(tmp_path / "other.csv", [*strange, *rows[:5], ("a broken cast", "fracture")])
    typed = [f"task={kind}", f"task.root={path}", "external=corpus", f"external.root={other}"]
    settings = compose("config", [*typed, "external.corpus.text=report", "external.corpus.labels=dx"])
    chosen = external_settings(settings)
    assert chosen is not None and chosen["corpus"] == plain(settings.task.corpus) | {"text": "report", "labels": "dx"}
    task, key = execution.open_task_from(plain(settings.task), tmp_path / "store")
    opened = open_external(chosen, task, key, tmp_path / "store")
    assert opened.task.examples.labels == task.examples.labels
    told = " ".join(opened.notices)
    assert "1 labels unknown to the task (1 times): fracture" in told and "documents left out" in told
    predictor = tfidf(task, key, tmp_path / "store", "TF-IDF")
    (found,) = write_external(opened, [predictor.result], ReportSettings(resamples=20), tmp_path / "store", tmp_path)
    frame = opened.task.examples.frame[opened.documents]
    config = InferenceConfig.load(tmp_path / "store" / predictor.result.key)
    model, _ = Tfidf(tmp_path / "store", key).fitted(task)
    values = config.probabilities(linked_logits(model, frame["text"].to_list(), task.kind))
    right = opened.task.examples.targets[opened.documents]
    assert found.quality == pytest.approx(quality(right, values, config.thresholds), nan_ok=True)
    assert config.thresholds is None or (config.thresholds == task.fit_thresholds(predictor.validation)).all()
    own = task.evaluate("test", predictor.test, config.thresholds).quality()["micro_f1"]
    assert found.drop is not None and found.drop.value == pytest.approx(found.quality["micro_f1"] - own)
    text = (tmp_path / "external.md").read_text()
    assert "fracture" in text and not any(note in text for note in frame["text"])
    with pytest.raises(ConfigError, match="must have a label of the task, .* got fracture"):
        only = _written(tmp_path / "more.csv", [("a cast", "fracture"), ("a fall", "fracture")])
        open_external(
            chosen | {"root": str(only), "corpus": plain(settings.task.corpus)}, task, key, tmp_path / "store"
        )


def test_another_reader_for_the_external_corpus() -> None:
    typed = ["task=entities", "external=corpus", "external.root=there", "corpus@external.corpus=brat"]
    chosen = external_settings(compose("config", [*typed, "labeler=human", "external.corpus.ignore=[a.txt]"]))
    assert chosen is not None and chosen["corpus"]["_target_"] == "clinlm.corpora.brat.Brat"
    assert chosen["corpus"]["ignore"] == ["a.txt"] and chosen["labeler"] == {"_target_": "clinlm.labelers.human.Human"}
