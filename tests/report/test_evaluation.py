"""Laws of a comparison: every model on the same documents, against the same reference, with the trivial baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipelines import composed
from support.reports import recorded, same

from clinlm.config.errors import ConfigError, DataError
from clinlm.metrics.baseline import FILES, TfidfBaseline
from clinlm.metrics.classification import METRICS, quality
from clinlm.metrics.int8_baseline import INT8_FILES, Int8Baseline
from clinlm.models.artifact import Artifact
from clinlm.pipeline.execution import planned_folders
from clinlm.pipeline.plan import plan
from clinlm.pipeline.protocol import PROTOCOLS
from clinlm.pipeline.run_record import RunRecord, StageRecord, run_file, write_run_file
from clinlm.report.baselines import BASELINES
from clinlm.report.evaluation import evaluate
from clinlm.report.report import Report
from clinlm.report.results import ModelResult, read_results, results_content
from clinlm.report.tables import results_frame
from clinlm.tasks.inference_config import SERVING, InferenceConfig

pytestmark = pytest.mark.usefixtures("quick")


class Compared:
    """A finished pipeline B and the comparison of its stages."""

    def __init__(self, notes: Path, root: Path) -> None:
        self.root = root
        self.run: RunRecord
        self.config = composed(notes, root, "pipeline=b")
        self.run, self.task = recorded(self.config)
        self.artifacts = [Artifact(Path(stage.folder)) for stage in self.run.stages]
        self.results, self.notices = evaluate([self.run], self.task, stages=True)

    def again(self, stages: Sequence[StageRecord] | None = None, **settings: Any) -> list[ModelResult]:
        changed = replace(self.run, report={**self.run.report, **settings}, stages=tuple(stages or self.run.stages))
        return evaluate([changed], stages=True)[0]


@pytest.fixture(scope="module")
def compared(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Compared:
    return Compared(notes_csv, tmp_path_factory.mktemp("compared") / "store")


def test_rows_are_the_baseline_and_the_stages_in_order(compared: Compared) -> None:
    rows = compared.results
    assert [row.name for row in rows] == [*BASELINES, "teacher", "student", "prune_student", "recover_student"]
    assert [row.kind for row in rows] == ["baseline"] * 2 + ["stage"] * 4
    assert [row.role for row in rows] == ["", "", "teacher"] + ["student"] * 3
    for row, artifact in zip(rows[2:], compared.artifacts, strict=True):
        report = artifact.report
        assert row.key == artifact.key
        for name in ("parameters", "nonzero", "bytes", "seconds", "peak_mib"):
            assert getattr(row, name) == report[name]


def test_folders_are_planned_before_anything_is_built(compared: Compared) -> None:
    config = compared.config.copy()
    config.margin = 0.5  # the key of no stage has it
    planned = planned_folders(plan(config), compared.root, compared.run.task.key)
    assert planned == [Path(stage.folder) for stage in compared.run.stages]
    (protocol,) = (compared.root / PROTOCOLS).glob("*.json")
    assert protocol.stem == planned[-1].name and compared.run.protocol and not compared.run.protocol.late


def test_verdicts_are_on_compressed_stages_and_the_claim_is_of_the_last(compared: Compared) -> None:
    rows = compared.results
    judged = [row for row in rows if row.non_inferiority is not None]
    assert judged == rows[3:]
    for row in judged:
        own, change = row.non_inferiority, row.differences["micro_f1"]
        assert own is not None and own.difference == change and own.claimed is (row is rows[-1]) and own.family == 1
        naive = "non-inferior" if change.low > -0.02 else "inferior" if change.high < -0.02 else "undecided"
        assert own.verdict == own.alone == naive and not own.caveat
    frame = results_frame(rows)
    assert frame["verdict_claimed"].to_list() == [None] * 3 + [row is rows[-1] for row in judged]
    assert set(frame["verdict_caveat"]) == {""}
    told = next(notice for notice in compared.notices if notice.startswith("verdicts in brackets"))
    assert "the claim is about recover_student alone" in told
    assert [notice for notice in compared.notices if notice.startswith("power: ")]
    assert not any(row.non_inferiority for row in evaluate([replace(compared.run, protocol=None)], stages=True)[0])


def test_quality_is_that_of_the_predictions_on_test(compared: Compared) -> None:
    """Thresholds come from the predictions on validation, for every model by itself."""
    task = compared.task
    targets = task.examples.targets[task.examples.members("test")]
    for row, artifact in zip(compared.results[2:], compared.artifacts, strict=True):
        validation, test = (task.probabilities(artifact.predictions(split)) for split in ("validation", "test"))
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
    row = compared.results[0]
    assert row.quality == pytest.approx(
        quality(targets, model.probabilities(task.texts("test")), thresholds), nan_ok=True
    )
    served = sum((compared.root / row.key / name).stat().st_size for name in (*FILES, SERVING))
    assert (row.parameters, row.nonzero, row.bytes) == (model.parameters, model.nonzero, served)
    assert row.peak_mib is None


def test_a_baseline_that_cannot_be_fitted_leaves_a_dash_and_its_reason(
    compared: Compared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*rest: object) -> None:
        raise DataError("TF-IDF needs terms that occur in at least 2 training documents; use more documents")

    monkeypatch.setattr("clinlm.report.baselines.Tfidf.fitted", fails)
    report = Report([compared.run], (compared.task, None), tmp_path, stages=True)
    report.print("Pipeline b", report.results[-1].name, [])
    assert "against teacher; *" in capsys.readouterr().out
    reason = "TF-IDF has no numbers: TF-IDF needs terms that occur in at least 2 training documents"
    text = (tmp_path / "table.md").read_text()
    assert "| TF-IDF | – | – | – | – |" in text and text.count(f"- {reason}\n") == 1
    results, notices = read_results(tmp_path / "table.json")
    assert [row.name for row in results] == [row.name for row in compared.results] and reason in notices
    assert np.isnan([results[0].compression_bytes, results[0].compression_parameters]).all()
    for before, after in zip(compared.results[2:], results[2:], strict=True):
        assert after.quality == pytest.approx(before.quality, nan_ok=True)
    assert all("floor (macro_f1 of the better TF-IDF) undefined" in gate.reasons() for gate in results[-1].gates)


def test_intervals_hold_their_values(compared: Compared) -> None:
    for row in compared.results:
        for name, value in row.quality.items():
            interval = row.intervals[name]
            assert interval.low <= value <= interval.high or (interval.high - interval.low) < 0.2, name
        f1, interval = row.quality["micro_f1"], row.intervals["micro_f1"]
        assert interval.low <= f1 <= interval.high


def test_differences_are_against_the_teacher(compared: Compared) -> None:
    teacher = compared.results[2]
    assert teacher.differences == {} and teacher.compression_parameters == teacher.compression_bytes == 1.0
    assert teacher.latency is not None and teacher.latency.speedup == 1.0
    for row in (*compared.results[:2], *compared.results[3:]):
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
    for row, artifact in zip(compared.results[2:], compared.artifacts, strict=True):
        expected = task.validation_metrics(artifact.predictions("validation"))
        assert row.validation == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_a_model_is_compared_with_the_first_teacher(compared: Compared) -> None:
    first, *others = compared.run.stages[1:]
    results = compared.again([replace(first, role="teacher"), *others])
    by_name = {result.name: result for result in results}
    assert by_name["student"].differences == {} and by_name["recover_student"].reference == "student"
    change = by_name["recover_student"].differences["micro_f1"].value
    gained = by_name["recover_student"].quality["micro_f1"] - by_name["student"].quality["micro_f1"]
    assert change == pytest.approx(gained, abs=1e-6)


def test_a_comparison_needs_a_teacher(compared: Compared) -> None:
    with pytest.raises(ConfigError, match="needs a stage of role teacher, got .*student"):
        compared.again([replace(stage, role="student") for stage in compared.run.stages])


def test_a_run_is_a_sweep_of_one(compared: Compared) -> None:
    """The last stage of a sweep has the numbers that it has in its run; only its name is that of the pipeline."""
    results, _ = evaluate([compared.run], compared.task)
    assert [result.name for result in results] == [*BASELINES, "teacher", "b"]
    last, own = results[-1], compared.results[-1]
    assert last.lineage.overrides == compared.run.overrides and last.gates and last.key == own.key
    for name in ("quality", "validation", "intervals", "differences"):
        for metric, value in getattr(own, name).items():
            other = getattr(last, name)[metric]
            assert other == value or (isinstance(value, float) and same(other, value)) or repr(other) == repr(value)


def test_results_are_json_and_come_back(compared: Compared, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    write_run_file(path, results_content(compared.results, compared.notices))
    results, notices = read_results(path)
    assert notices == compared.notices and run_file(path.name, results_content(results, notices)) == path.read_text()
    assert results[-1].gates == compared.results[-1].gates and results[-1].lineage == compared.results[-1].lineage
    assert results[-1].lineage.parent == compared.run.stages[-2].folder.rpartition("-")[2]


def test_every_row_has_a_table_of_labels(compared: Compared) -> None:
    for result in compared.results:
        assert [row["label"] for row in result.per_label] == list(compared.task.examples.labels)


def test_the_second_time_the_baseline_is_there(compared: Compared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TfidfBaseline, "fit", lambda *_: pytest.fail("it was fitted already"))
    rows = compared.again()
    assert not compared.results[0].cached and rows[0].cached
    for old, new in zip(compared.results, rows, strict=True):
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
    rows = compared.again()
    assert not rows[0].cached
    assert rows[0].quality == pytest.approx(compared.results[0].quality, nan_ok=True)


def test_the_int8_row_is_what_its_folder_answers(compared: Compared) -> None:
    task, row = compared.task, compared.results[1]
    model, folder = Int8Baseline.load(compared.root / row.key), compared.root / row.key
    validation, test = (model.probabilities(task.texts(split)) for split in ("validation", "test"))
    targets = task.examples.targets[task.examples.members("test")]
    assert row.quality == pytest.approx(quality(targets, test, task.fit_thresholds(validation)), nan_ok=True)
    assert (row.parameters, row.nonzero) == (model.parameters, model.nonzero)
    assert row.bytes == sum((folder / name).stat().st_size for name in (*INT8_FILES, SERVING))
    assert row.bytes < compared.results[0].bytes and row.against_baselines == {} and row.latency is not None
    assert InferenceConfig.load(folder).conformal, "fitted with its own probabilities, as for any model"


def test_groups_are_resampled_whole(compared: Compared) -> None:
    """Notes of one patient are not independent: intervals over patients are others than those over notes."""
    by_note = compared.again(by_group=False)
    assert by_note[2].quality == pytest.approx(compared.results[2].quality, nan_ok=True)
    assert by_note[2].intervals != compared.results[2].intervals
