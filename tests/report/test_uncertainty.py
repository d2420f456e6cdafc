"""The files of uncertainty say what was measured, and results with it are read back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from support.reports import result

from clinlm.metrics.bootstrap import resample
from clinlm.metrics.conformal import fit_conformal
from clinlm.metrics.scored_answers import ScoredAnswers
from clinlm.metrics.uncertainty import DrawnUncertainty, LabelRisk
from clinlm.pipeline.run_record import write_run_file
from clinlm.report.results import ModelResult, read_results, results_content
from clinlm.report.uncertainty import uncertainty_line, uncertainty_markdown, write_uncertainty
from clinlm.report.uncertainty_plot import drawn_results

WEIGHTS = resample(40, 20)


def drawn(noise: float, kind: Any = "multilabel") -> DrawnUncertainty:
    rng = np.random.default_rng(0)
    place = np.arange(40)
    truth = rng.random((40, 2)) < 0.5
    truth = truth if kind == "multilabel" else np.eye(2, dtype=bool)[truth[:, 0].astype(int)]
    probabilities = 1 / (1 + np.exp(-(2.0 * truth - 1 + rng.normal(0, noise, truth.shape))))
    probabilities = probabilities if kind == "multilabel" else probabilities / probabilities.sum(axis=1, keepdims=True)
    thresholds = np.full(2, 0.5) if kind == "multilabel" else None
    own = fit_conformal(probabilities, truth, place, place, kind)
    answers = ScoredAnswers.of(probabilities, truth, thresholds, place, place, ("a|b", "$c"), kind, own)
    return DrawnUncertainty.of(answers, WEIGHTS)


@pytest.fixture(scope="module")
def results() -> list[ModelResult]:
    teacher = drawn(0.5)
    alone, other = teacher.measured(None), drawn(2.0).measured(teacher)
    return [
        result("TF-IDF", kind="baseline", reference="teacher", uncertainty=other),
        result("keywords", kind="baseline", reference="teacher"),
        result("teacher", role="teacher", reference="teacher", uncertainty=alone),
        result("student", role="student", reference="teacher", uncertainty=other),
        result("student @x", reference="teacher", uncertainty=other, deployment={"of": "student"}),
    ]


def test_results_with_uncertainty_are_read_back(results: list[ModelResult], tmp_path: Path) -> None:
    write_run_file(tmp_path / "r.json", results_content(results, []))
    read, _ = read_results(tmp_path / "r.json")
    assert [repr(own.uncertainty) for own in read] == [repr(own.uncertainty) for own in results], "repr: NaN is not NaN"


def test_files_have_every_model_that_was_measured(results: list[ModelResult], tmp_path: Path) -> None:
    assert write_uncertainty(results, tmp_path, "test") == [f"uncertainty.{ending}" for ending in ("md", "csv", "json")]
    table = pl.read_csv(tmp_path / "uncertainty.csv")
    assert table.height == 4 * 3 * 2 and set(table["label"]) == {"a|b", "$c"}
    models = json.loads((tmp_path / "uncertainty.json").read_text(encoding="utf-8"))["models"]
    assert [*models] == ["TF-IDF", "teacher", "student", "student @x"]
    student = table.filter((pl.col("name") == "student") & (pl.col("coverage") == 0.9))
    kept = [own["sets"]["value"] for own in models["student"]["levels"][1]["labels"]]
    assert student["sets"].to_list() == pytest.approx(kept)
    ElementTree.parse(tmp_path / "uncertainty.svg")
    text = (tmp_path / "uncertainty.md").read_text(encoding="utf-8")
    assert text.count("| student |") == 4 and "keywords" not in text


def test_nothing_is_written_of_models_without_probabilities(results: list[ModelResult], tmp_path: Path) -> None:
    assert write_uncertainty(results[1:2], tmp_path, "test") == [] and not [*tmp_path.iterdir()]


def test_the_plot_has_the_teacher_the_last_stage_and_tfidf(results: list[ModelResult]) -> None:
    assert [own.name for own in drawn_results(results)] == ["teacher", "student @x", "TF-IDF"]
    assert [own.name for own in drawn_results(results[2:3])] == ["teacher"]


def test_a_sentence_names_growth_and_what_is_below_the_promise(results: list[ModelResult]) -> None:
    student = results[3]
    assert "against teacher" in uncertainty_line(student) and "against" not in uncertainty_line(results[2])
    assert student.uncertainty is not None
    level = student.uncertainty.level(0.9)
    poor = replace(level, sets=replace(level.sets, value=0.5, low=0.4, high=0.6))
    low = replace(student, uncertainty=replace(student.uncertainty, levels=(student.uncertainty.levels[0], poor)))
    assert "BELOW" in uncertainty_line(low) and "†" in uncertainty_markdown([low], "test")


def test_labels_that_abstention_makes_worse_are_named_once(results: list[ModelResult]) -> None:
    def worse(own: LabelRisk) -> LabelRisk:
        return replace(own, rise=replace(own.rise, value=0.1, low=0.05, high=0.2))

    found = []
    for each in results[3:]:
        assert each.uncertainty is not None
        labels = tuple(worse(own) for own in each.uncertainty.labels)
        found.append(replace(each, uncertainty=replace(each.uncertainty, labels=labels)))
    text = uncertainty_markdown(found, "test")
    assert "- student, more often wrong: a|b (" in text and "- student @x, more" not in text


def test_one_class_a_note_and_validation_have_their_own_notes(results: list[ModelResult]) -> None:
    own = replace(results[2], uncertainty=drawn(1.0, "multiclass").measured(None))
    text = uncertainty_markdown([own] * 13, "validation")
    assert "the other" in text and text.count("| teacher | 90 |") == 13 and "| teacher | 80 |" not in text
