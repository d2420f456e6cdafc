"""Laws of a comparison: every model on the same documents, against the same reference, beside the trivial baseline."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipelines import composed, finished

from clinlm.metrics.baseline import TfidfBaseline
from clinlm.metrics.classification import METRICS, quality
from clinlm.pipeline import execution
from clinlm.pipeline.results import StageResult
from clinlm.report.baselines import BASELINE
from clinlm.report.comparison import Candidate, Settings, compare
from clinlm.report.row import Row
from clinlm.tasks.base import Task

pytestmark = pytest.mark.usefixtures("quick")
SETTINGS = Settings(resamples=100, latency_documents=4, latency_passes=1)


class Compared:
    """A finished pipeline B and the comparison of its stages."""

    def __init__(self, notes: Path, root: Path) -> None:
        config = composed(notes, root, "pipeline=b")
        self.root = root
        self.done: list[StageResult] = finished(config)
        self.task: Task
        self.task, self.key = execution.open_task(config)
        self.rows, self.notices, self.tables = self.again()

    def again(self, **settings: Any) -> tuple[list[Row], list[str], dict[str, Any]]:
        models = [Candidate(one.name, one.role, one.artifact, one.cached) for one in self.done]
        chosen = Settings(**{**vars(SETTINGS), **settings})
        return compare(self.task, self.key, models, chosen, self.root)


@pytest.fixture(scope="module")
def compared(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Compared:
    return Compared(notes_csv, tmp_path_factory.mktemp("compared") / "store")


def test_rows_are_the_baseline_and_the_stages_in_order(compared: Compared) -> None:
    rows = compared.rows
    assert [row.name for row in rows] == [BASELINE, "teacher", "student", "prune_student", "recover_student"]
    assert [row.kind for row in rows] == ["baseline"] + ["stage"] * 4
    assert [row.role for row in rows] == ["", "teacher"] + ["student"] * 3
    for row, one in zip(rows[1:], compared.done, strict=True):
        report = one.artifact.report
        assert row.key == one.artifact.key
        for name in ("parameters", "nonzero", "bytes", "seconds", "peak_mib"):
            assert getattr(row, name) == report[name]


def test_quality_is_that_of_the_predictions_on_test(compared: Compared) -> None:
    """Thresholds come from the predictions on validation, for every model by itself."""
    task = compared.task
    targets = task.examples.targets[task.examples.members("test")]
    for row, one in zip(compared.rows[1:], compared.done, strict=True):
        validation, test = (task.probabilities(one.artifact.predictions(split)) for split in ("validation", "test"))
        expected = quality(targets, test, task.fit_thresholds(validation))
        assert row.quality == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert set(row.quality) == set(METRICS)


def test_the_baseline_is_tfidf_on_the_same_split(compared: Compared) -> None:
    task = compared.task
    split = {
        name: (task.texts(name), task.examples.targets[task.examples.members(name)]) for name in ("train", "validation")
    }
    model = TfidfBaseline.fit(*split["train"], *split["validation"])
    thresholds = task.fit_thresholds(model.probabilities(task.texts("validation")))
    targets = task.examples.targets[task.examples.members("test")]
    row = compared.rows[0]
    assert row.quality == pytest.approx(
        quality(targets, model.probabilities(task.texts("test")), thresholds), nan_ok=True
    )
    assert (row.parameters, row.nonzero, row.bytes) == (model.parameters, model.nonzero, model.bytes)
    assert row.peak_mib is None


def test_intervals_hold_their_values(compared: Compared) -> None:
    for row in compared.rows:
        for name, value in row.quality.items():
            interval = row.intervals[name]
            assert interval.low <= value <= interval.high or (interval.high - interval.low) < 0.2, name
        f1, interval = row.quality["micro_f1"], row.intervals["micro_f1"]
        assert interval.low <= f1 <= interval.high


def test_differences_are_against_the_teacher(compared: Compared) -> None:
    teacher = compared.rows[1]
    assert teacher.differences == {} and teacher.compression_parameters == teacher.compression_bytes == 1.0
    assert teacher.latency is not None and teacher.latency.speedup == 1.0
    for row in (compared.rows[0], *compared.rows[2:]):
        assert set(row.differences) == set(METRICS)
        for name, change in row.differences.items():
            expected = row.quality[name] - teacher.quality[name]
            assert change.value == pytest.approx(expected, abs=1e-6, nan_ok=True)
            assert math.isnan(change.value) or change.low <= change.high
        assert row.compression_parameters == pytest.approx(teacher.parameters / row.parameters)
        assert row.compression_bytes == pytest.approx(teacher.bytes / row.bytes)
        assert row.latency is not None and row.latency.documents == 4


def test_every_row_has_its_quality_on_validation(compared: Compared) -> None:
    """What settings may be chosen by: thresholds and values are of the same documents."""
    task = compared.task
    for row, one in zip(compared.rows[1:], compared.done, strict=True):
        expected = task.validation_metrics(one.artifact.predictions("validation"))
        assert row.validation == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_model_is_compared_with_its_own_reference(compared: Compared) -> None:
    models = [Candidate(one.name, one.role, one.artifact, one.cached, "student") for one in compared.done[1:]]
    models[0] = Candidate("student", "teacher", compared.done[1].artifact, False)
    rows, _, _ = compare(compared.task, compared.key, models, SETTINGS, compared.root)
    by_name = {row.name: row for row in rows}
    assert by_name["student"].differences == {}
    change = by_name["recover_student"].differences["micro_f1"].value
    gained = by_name["recover_student"].quality["micro_f1"] - by_name["student"].quality["micro_f1"]
    assert change == pytest.approx(gained, abs=1e-6)


def test_a_comparison_needs_a_teacher(compared: Compared) -> None:
    models = [Candidate(one.name, "student", one.artifact, False) for one in compared.done]
    with pytest.raises(ValueError, match="needs a teacher; the stages .*'student'.* have none"):
        compare(compared.task, compared.key, models, SETTINGS, compared.root)


def test_every_row_has_a_table_of_labels(compared: Compared) -> None:
    assert set(compared.tables) == {row.name for row in compared.rows}
    for table in compared.tables.values():
        assert table["label"].to_list() == list(compared.task.examples.labels)


def test_the_second_time_the_baseline_is_there(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TfidfBaseline, "fit", lambda *_: pytest.fail("it was fitted already"))
    rows, _, _ = compared.again()
    assert not compared.rows[0].cached and rows[0].cached
    for old, new in zip(compared.rows, rows, strict=True):
        assert old.quality == pytest.approx(new.quality, nan_ok=True)
        assert old.key == new.key and old.seconds == new.seconds
        assert np.array_equal(
            [(i.low, i.high) for i in old.intervals.values()],
            [(i.low, i.high) for i in new.intervals.values()],
            equal_nan=True,
        )


def test_a_spoilt_baseline_is_fitted_again(compared: Compared) -> None:
    (folder,) = compared.root.glob("tfidf-*")
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    rows, _, _ = compared.again()
    assert not rows[0].cached
    assert rows[0].quality == pytest.approx(compared.rows[0].quality, nan_ok=True)


def test_groups_are_resampled_whole(compared: Compared) -> None:
    """Notes of one patient are not independent: intervals over patients are others than those over notes."""
    by_note, _, _ = compared.again(by_group=False)
    assert by_note[1].quality == pytest.approx(compared.rows[1].quality, nan_ok=True)
    assert by_note[1].intervals != compared.rows[1].intervals
