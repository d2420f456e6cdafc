"""Laws of ensembles in reports: the row is of the combined answers and of all members, beside the students."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.pipelines import composed
from support.reports import recorded

from clinlm.metrics.classification import METRICS, quality
from clinlm.models.artifact import Artifact
from clinlm.report.baselines import BASELINE, BASELINES
from clinlm.report.ensembles import ensemble_name, ensembles_of_run, ensembles_of_sweep
from clinlm.report.evaluation import evaluate
from clinlm.report.results import ModelResult
from clinlm.report.selection import last_stages
from clinlm.tasks.inference_config import probabilities_from_logits
from clinlm.training.teachers.tfidf import Tfidf

pytestmark = pytest.mark.usefixtures("quick")
NAME = "ensemble (teacher_1, teacher_2, tfidf)"


class Compared:
    """A finished ensemble of two networks and TF-IDF, its student, and their comparison."""

    def __init__(self, notes: Path, root: Path) -> None:
        overrides = ("pipeline=ensemble", "ensemble=mean_probabilities", "epochs=1", "members=[{},{seed:5}]")
        config = composed(notes, root, *overrides, "stages.student.teachers=[teacher,tfidf]")
        self.root = root
        self.run, self.task = recorded(config, resamples=50, latency_documents=3)
        self.key = self.run.task.key
        self.shown = ensembles_of_run(self.run, "teacher_1")
        self.rows, self.notices = evaluate([self.run], self.task, stages=True)

    def row(self, name: str) -> ModelResult:
        return next(each for each in self.rows if each.name == name)

    def artifact(self, name: str) -> Artifact:
        return Artifact(Path(next(each.folder for each in self.run.stages if each.name == name)))


@pytest.fixture(scope="module")
def compared(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Compared:
    return Compared(notes_csv, tmp_path_factory.mktemp("assembled") / "store")


def test_the_ensemble_stands_above_its_student(compared: Compared) -> None:
    assert [row.name for row in compared.rows] == [*BASELINES, "teacher_1", "teacher_2", NAME, "student"]
    row = compared.row(NAME)
    assert (row.kind, row.role, row.cached) == ("ensemble", "teacher", False) and row.key
    assert all(each.per_label for each in compared.rows)


def test_its_quality_is_that_of_the_combined_answers(compared: Compared) -> None:
    task, row = compared.task, compared.row(NAME)
    answers = {}
    for split in ("validation", "test"):
        each = [compared.artifact(f"teacher_{n}").predictions(split) for n in (1, 2)]
        member = Tfidf(compared.root, compared.key)
        each.append(member.fitted(task)[0].logits(task.texts(split)))
        answers[split] = np.mean([probabilities_from_logits(one, task.kind) for one in each], axis=0)
    targets = task.examples.targets[task.examples.members("test")]
    expected = quality(targets, answers["test"], task.fit_thresholds(answers["validation"]))
    assert row.quality == pytest.approx(expected, abs=1e-5, nan_ok=True)
    teacher = compared.row("teacher_1")
    assert set(row.differences) == set(METRICS) == set(row.intervals)
    gained = row.quality["micro_f1"] - teacher.quality["micro_f1"]
    assert row.differences["micro_f1"].value == pytest.approx(gained, abs=1e-6)


def test_its_costs_are_those_of_all_members(compared: Compared) -> None:
    row, each = compared.row(NAME), [compared.row(name) for name in ("teacher_1", "teacher_2", BASELINE)]
    for name in ("parameters", "nonzero", "bytes"):
        assert getattr(row, name) == sum(getattr(one, name) for one in each)
    assert row.seconds == pytest.approx(sum(one.seconds for one in each))
    assert row.compression_bytes == pytest.approx(each[0].bytes / row.bytes) and row.latency is not None
    assert row.latency.documents == 3 and compared.row("teacher_1").latency.speedup == 1.0  # type: ignore[union-attr]


def test_its_student_is_compared_with_it(compared: Compared) -> None:
    (told,) = [one for one in compared.notices if one.startswith(f"student against {NAME}")]
    student, row = compared.row("student"), compared.row(NAME)
    kept = 100 * student.quality["macro_auroc"] / row.quality["macro_auroc"]
    assert f"{kept:.2f} % kept" in told and "micro F1" in told and "lower p50 latency" in told
    assert not any("mean weight of its members" in one for one in compared.notices), "all count the same"


def test_no_row_where_there_is_one_teacher(compared: Compared) -> None:
    alone = [replace(stage, teachers=stage.teachers[:1]) for stage in compared.run.stages]
    assert ensembles_of_run(replace(compared.run, stages=tuple(alone)), "teacher_1") == []
    assert [each.students for each in compared.shown] == [("student",)]


def test_names_are_short() -> None:
    assert ensemble_name(["a", "tfidf"]) == "ensemble (a, tfidf)" and ensemble_name([*"abcdefgh"]) == "ensemble of 8"


def test_a_sweep_shows_an_ensemble_once(compared: Compared) -> None:
    own = compared.run
    runs = [replace(own, overrides=("pipeline=ensemble", f"distill.alpha={a}")) for a in (0.3, 0.7)]
    other = replace(own.stages[1], name="student", role="student", teachers=("teacher_1", "teacher_2", "tfidf"))
    runs[1] = replace(runs[1], stages=(*own.stages[:-1], other))
    models = last_stages(runs)
    assert [each.name for each in models] == ["teacher", "teacher_2", "ensemble alpha=0.3", "ensemble alpha=0.7"]
    (found,) = ensembles_of_sweep(runs, models)
    result = found.result
    assert result.name == result.group == "teachers of ensemble alpha=0.3" and result.reference == "teacher"
    assert found.students == ("ensemble alpha=0.3", "ensemble alpha=0.7")
    assert result.lineage.overrides == ("pipeline=ensemble", "distill.alpha=0.3")
