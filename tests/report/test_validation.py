"""A validation tells everything of the same documents, finds what was planted, and keeps notes and ids to itself."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clinlm.corpora.table import Table
from clinlm.metrics.classification import METRICS, ONE_VS_ONE, quality
from clinlm.report.validation import ModelLogits, Validation, ValidationSettings, validate
from clinlm.report.validation_text import write_validation
from clinlm.tasks.base import Task
from clinlm.tasks.multiclass import MultiClass
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head

SETTINGS = ValidationSettings(resamples=200, minimum_documents=15)
LABELS = ("asthma", "flu", "gout")


@pytest.fixture(scope="module", params=[MultiLabel, MultiClass])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Return a task of 1,200 notes of 800 patients with attributes; some notes have a plan."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("attributes")
    with (folder / "notes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "group", "text", "labels", "gender", "age", "language"])
        for number in range(1200):
            count = 1 if request.param is MultiClass else rng.integers(1, 3)
            labels = ";".join(sorted(rng.choice(LABELS, size=count, replace=False)))
            text = f"secretword {'x' * int(rng.integers(1, 40))}\n{'PLAN: rest' if rng.random() < 0.4 else ''} {number}"
            age = str(rng.integers(0, 95)) if rng.random() < 0.9 else ""
            person = (rng.choice(["F", "M"]), age, rng.choice(["ENGL", "SPAN", "rare"], p=[0.7, 0.29, 0.01]))
            writer.writerow([f"secretid{number}", f"secretgroup{rng.integers(800)}", text, labels, *person])
    corpus = partial(
        Table, text="text", labels="labels", id="id", group="group", delimiter=";",
        attributes=["gender", "age", "language"],
    )  # fmt: skip
    task: Task = request.param(corpus, str(folder / "notes.csv"), Head(), labels=3, shares=(0.3, 0.2, 0.5))
    task.open(folder / "store", "key")
    return task


def answers(task: Task, seed: int) -> tuple[Any, Any]:
    """Return logits of a good model, and of one that guesses about notes with a plan."""
    rng = np.random.default_rng(seed)
    targets = task.examples.targets
    a = 5 * targets - 2.5 + rng.normal(0, 1, targets.shape)
    plan = task.examples.frame["text"].str.contains("PLAN:").to_numpy()
    b = 3 * np.where(plan[:, None], a + rng.normal(0, 3, a.shape), a)
    v, t = (task.examples.members(split) for split in ("validation", "test"))
    return ModelLogits("teacher", a[v], a[t]), ModelLogits("student", b[v], b[t])


@pytest.fixture(scope="module")
def found(opened: Task) -> Validation:
    """Return a validation of a model with a planted pattern."""
    return validate(opened, *answers(opened, 1), SETTINGS)


def test_metrics_are_those_of_quality_with_thresholds_of_validation(opened: Task, found: Validation) -> None:
    targets = opened.examples.targets[opened.examples.members("test")]
    for name, model in zip(("original", "compressed"), answers(opened, 1), strict=True):
        thresholds = opened.fit_thresholds(opened.probabilities(model.validation))
        expected = quality(targets, opened.probabilities(model.test), thresholds)
        assert {metric: getattr(drop, name) for metric, drop in found.drops.items()} == pytest.approx(expected)
    further = (ONE_VS_ONE,) if opened.kind == "multiclass" else ()
    assert tuple(found.drops) == (*METRICS, *further) and found.documents == len(targets) > found.units
    drop = found.drops["macro_f1"]
    assert drop.change.value == pytest.approx(drop.compressed - drop.original, abs=1e-6) and drop.change.high < 0
    assert drop.percent.value == pytest.approx(100 * drop.change.value / drop.original)
    assert drop.percent.low < drop.percent.value < drop.percent.high < 0


def test_the_planted_pattern_is_found_and_no_other_section_or_subgroup(found: Validation) -> None:
    systematic = {(each.feature, each.value) for each in found.patterns if each.systematic}
    assert ("section", "plan") in systematic
    assert {name for name, _ in systematic} <= {"section", "label", "length"}
    assert {"label", "length", "section", "gender", "age_band", "language"} == {each.feature for each in found.patterns}


def test_parts_agree_with_each_other(opened: Task, found: Validation) -> None:
    cells = found.documents * len(LABELS)
    assert found.agreement.cells.value == pytest.approx(1 - len(found.disagreements) / cells)
    documents = found.disagreements["id"].n_unique()
    assert found.agreement.documents.value == pytest.approx(1 - documents / found.documents)
    assert list(found.fairness) == ["gender", "age_band", "language"]
    for each in found.fairness.values():
        assert sum(one.documents for one in each.subgroups) == found.documents
    assert {one.name: one.standing for one in found.fairness["language"].subgroups}["rare"] == "small"
    members = opened.examples.members("test")
    assert {*found.disagreements["id"]} <= {*opened.examples.frame["id"].gather(members)}
    assert found.temperatures["student"] > found.temperatures["teacher"]
    assert found.calibration["student, tempered"].brier.value < found.calibration["student"].brier.value


def test_a_model_agrees_with_itself(opened: Task) -> None:
    one, _ = answers(opened, 2)
    found = validate(opened, one, ModelLogits("copy", one.validation, one.test), SETTINGS)
    assert all(drop.change.value == 0 and drop.change.p == 1 for drop in found.drops.values())
    assert found.agreement.documents.value == 1 and not len(found.disagreements)
    assert not any(each.systematic for each in found.patterns)
    assert all(each.ratio.value == 1 for each in found.fairness.values())


def test_files_hold_it_all_and_no_note_and_only_the_listing_has_ids(found: Validation, tmp_path: Path) -> None:
    paths = write_validation(found, tmp_path)
    names = ["validation.md", "validation.json", "disagreements.csv", "reliability.svg", "reliability.png"]
    assert [path.name for path in paths] == names and all(path.stat().st_size for path in paths)
    for path in paths[:4]:
        text = path.read_text(encoding="utf-8")
        assert "secretgroup" not in text and "secretword" not in text
        assert ("secretid" in text) == (path.name == "disagreements.csv")
    told = json.loads(paths[1].read_text())
    assert told["drops"]["macro_f1"]["compressed"] == found.drops["macro_f1"].compressed
    assert len(told["patterns"]) == len(found.patterns)
    assert pl.read_csv(paths[2]).equals(found.disagreements)
    text = paths[0].read_text()
    assert (
        "section: plan" in text and "language: rare (small)" in text and all(f"| {each} |" in text for each in METRICS)
    )
    again = tmp_path / "again"
    again.mkdir()
    assert [path.read_bytes() for path in write_validation(found, again)[:4]] == [
        path.read_bytes() for path in paths[:4]
    ]


def test_lengths_in_tokens_are_told_as_such(opened: Task) -> None:
    members = opened.examples.members("test")
    found = validate(opened, *answers(opened, 1), SETTINGS, lengths=np.arange(len(members)))
    assert all(each.value.endswith("tokens") for each in found.patterns if each.feature == "length")


def test_a_corpus_without_attributes_is_validated_too(task: Task, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    v, t = (rng.normal(size=(len(task.examples.members(split)), 4)) for split in ("validation", "test"))
    found = validate(task, ModelLogits("a", v, t), ModelLogits("b", -v, -t), ValidationSettings(resamples=20))
    assert not found.fairness and "no attributes" in write_validation(found, tmp_path)[0].read_text()


def test_misfits_are_refused(opened: Task) -> None:
    one, other = answers(opened, 1)
    with pytest.raises(ValueError, match="two names"):
        validate(opened, one, one, SETTINGS)
    with pytest.raises(ValueError, match="Artifact.predictions"):
        validate(opened, one, ModelLogits("student", other.validation, other.validation), SETTINGS)
    with pytest.raises(ValueError, match="length"):
        validate(opened, one, other, SETTINGS, lengths=np.arange(3))
