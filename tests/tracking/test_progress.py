"""Progress of a run: what is noted while it trains, and that noting it changes no artifact and no key."""

import json
import logging
from pathlib import Path

import pytest
from hydra.utils import instantiate
from support.pipelines import composed, finished, weights

from clinlm.pipeline import building, execution
from clinlm.pipeline.plan import plan
from clinlm.tracking.planned_jobs import PlannedJobs
from clinlm.tracking.run_progress import RunProgress

pytestmark = pytest.mark.usefixtures("quick")


def test_epochs_and_the_best_value_are_noted_and_artifacts_are_the_same(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = composed(notes_csv, tmp_path / "watched/store", "pipeline=baseline")
    task, key = execution.open_task(config)
    run = RunProgress("baseline", "val/macro_f1", path=tmp_path / "progress.json")
    with caplog.at_level(logging.INFO):
        done = execution.run_stages(config, plan(config), task, key, instantiate(config.logger), run)
    (stage,) = run.stages
    (row,) = done[0].artifact.report["methods"]["keep_best"]["tables"][0]["rows"]
    assert (stage.state, stage.epoch, stage.epochs, stage.metric) == ("done", 2, 2, "macro_f1")
    assert stage.step == stage.steps > 0 and stage.best == row["value"] and stage.seconds is not None
    told = [record.getMessage() for record in caplog.records if "teacher: epoch" in record.getMessage()]
    assert len(told) == 2 and "epoch 1 of 2: train/loss" in told[0] and f"(best {stage.best:.4f})" in told[1]
    assert RunProgress.read(tmp_path / "progress.json").stages == run.stages  # type: ignore[union-attr]

    monkeypatch.setattr(building, "_observed", lambda stage, progress, name: stage)
    plain = finished(composed(notes_csv, tmp_path / "plain/store", "pipeline=baseline"))
    assert weights(done) == weights(plain) and done[0].artifact.key == plain[0].artifact.key


def test_the_time_left_counts_the_stages_that_wait() -> None:
    run = RunProgress()
    run.add_stages([("teacher", 2), ("student", 4), ("quantize", 0)])
    assert run.seconds_left() is None, "nothing is known yet"
    run.stages[0].state, run.stages[0].seconds = "done", 20.0
    assert run.seconds_left() == 40.0
    stage = run.build("student")
    assert run.seconds_left() is None
    stage.left = 30.0
    assert run.seconds_left() == 30.0
    run.end("student", False, {})
    run.end("quantize", True, {})
    assert run.seconds_left() == 0.0


def test_half_a_file_is_no_progress(tmp_path: Path) -> None:
    assert RunProgress.read(tmp_path / "progress.json") is None
    (tmp_path / "progress.json").write_text(json.dumps({"stages": []})[:5], encoding="utf-8")
    assert RunProgress.read(tmp_path / "progress.json") is None


def test_jobs_are_told_apart_by_what_differs() -> None:
    PlannedJobs.clear()
    PlannedJobs.add([["seed=0", "pipeline=a", "prune=wanda"], ["seed=0", "pipeline=b", "prune=heads"]], first=3)
    assert PlannedJobs.distinct() == ("pipeline prune", {3: "a wanda", 4: "b heads"}) and PlannedJobs.total == 2
    PlannedJobs.add([["seed=0", "pipeline=c"]], first=5, total=9)
    assert PlannedJobs.distinct()[1][5] == "pipeline=c" and PlannedJobs.total == 9
    PlannedJobs.clear()
    PlannedJobs.add([["seed=0"]], first=0)
    assert PlannedJobs.distinct() == ("seed", {0: "0"})
    PlannedJobs.clear()
