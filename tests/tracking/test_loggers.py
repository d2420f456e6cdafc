"""Laws of logging: curves, settings and tables arrive, and never a word of a note."""

import contextlib
import csv
import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from support.pipelines import RATIO, composed
from support.reports import Seen
from support.wandb_files import Logged, read

from clinlm.cli.run import run
from clinlm.config.errors import ConfigError
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.columns import summary_columns
from clinlm.report.results import read_results
from clinlm.report.tracked import publish_run
from clinlm.report.written import WrittenReport
from clinlm.tracking.base import TrackedRun
from clinlm.tracking.csv import Csv
from clinlm.tracking.none import NullLogger
from clinlm.tracking.run_progress import RunProgress
from clinlm.tracking.wandb import Wandb

pytestmark = pytest.mark.usefixtures("quick")
SENTENCE = "Mr Zyxwold of Quillbury lost his ocarina near platform nine"


@dataclass(frozen=True)
class Run:
    """A pipeline that ran on notes with `SENTENCE` in them: where it wrote, and what it said."""

    folder: Path
    said: str


def ran(notes: Path, folder: Path, *overrides: str) -> Run:
    """Run a pipeline as the command line does, and take down all that it prints and logs."""
    folder.mkdir()
    with notes.open(encoding="utf-8", newline="") as file:
        rows = [row | {"text": f"{row['text']} {SENTENCE}. {row['text']}"} for row in csv.DictReader(file)]
    with (folder / "notes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    said, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(said), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            config = composed(folder / "notes.csv", folder / "store", "task.max_tokens=64", *overrides)
            run(config, RunProgress("pipeline", "val/macro_f1"))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return Run(folder, said.getvalue())


@pytest.fixture(scope="module")
def dashboard(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Iterator[Run]:
    """A pipeline B, logged with wandb offline."""
    folder = tmp_path_factory.mktemp("wandb") / "b"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")  # is set to the same by Lightning, for good
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # copies and logs, else in the user's home
            patch.setenv(name, str(folder / "dashboard" / name))
        logger = ("logger=wandb", f"logger.folder={folder / 'dashboard'}", "logger.group=mine")
        yield ran(notes_csv, folder, "pipeline=b", *logger)


@pytest.fixture(scope="module")
def sheets(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Run:
    """A teacher, logged as csv."""
    return ran(notes_csv, tmp_path_factory.mktemp("csv") / "teacher", "pipeline=baseline", "logger=csv")


# Never a word of a note.


def phrases(text: str, words: int = 3) -> list[bytes]:
    """Every run of `words` words. Two words may stand in the vocabulary of TF-IDF, one in that of a tokenizer."""
    parts = text.lower().split()
    return [" ".join(parts[at : at + words]).encode() for at in range(len(parts) - words + 1)]


@pytest.mark.parametrize("fixture", ["dashboard", "sheets"])
def test_notes_stay_in_the_tasks_folder(fixture: str, request: pytest.FixtureRequest) -> None:
    logged: Run = request.getfixturevalue(fixture)
    (task,) = logged.folder.glob("store/task-*")
    files = [path for path in logged.folder.rglob("*") if path.is_file()]
    assert any(logged.folder.joinpath("notes.csv").read_bytes().lower().count(one) == 60 for one in phrases(SENTENCE))
    watched = [path for path in files if task not in path.parents and path.name != "notes.csv"]
    assert {"model.safetensors", "record.json", "table.json", "run.json", "vocabulary.json"} <= {
        p.name for p in watched
    }
    for path in watched:
        content = path.read_bytes().lower()
        found = [one for one in phrases(SENTENCE) if one in content or one.decode().encode("utf-16-le") in content]
        assert not found, f"{path.relative_to(logged.folder)} holds words of a note"
    assert not [one for one in phrases(SENTENCE) if one.decode() in logged.said.lower()]
    assert "stage 1 of" in logged.said and "artifact" in logged.said


# Weights & Biases.


def runs(logged: Run) -> dict[str, Logged]:
    found = [read(path) for path in logged.folder.glob("dashboard/wandb/offline-run-*/*.wandb")]
    return {one.run.display_name: one for one in found}


COLUMNS = {*summary_columns(None, "test")}


def test_every_run_has_the_same_columns(dashboard: Run) -> None:
    found = runs(dashboard)
    assert found.keys() == {"b/teacher", "b/student", "b/prune_student", "b/recover_student", "b"}
    assert {one.run.run_group for one in found.values()} == {"mine"}
    assert {one.run.project for one in found.values()} == {"clinlm"}
    results, _ = read_results(dashboard.folder / "run" / "table.json")
    by_stage = {result.name: result for result in results if result.is_stage}
    for name, one in found.items():
        own = {key for key in one.summary if not key.startswith(("_", "tables/", "plots/"))}
        assert own == COLUMNS, name
        result = by_stage[name.partition("/")[2] or "recover_student"]
        assert one.summary["final/micro_f1"] == pytest.approx(result.quality["micro_f1"])
        assert one.summary["final/macro_f1_low"] == pytest.approx(result.intervals["macro_f1"].low)
        assert one.summary["validation/macro_f1"] == pytest.approx(result.validation["macro_f1"])
        assert one.summary["final/bytes"] == result.bytes and one.summary["cached"] is False
    assert found["b"].summary["train_seconds"] == pytest.approx(sum(own.seconds for own in by_stage.values()))


def test_every_stage_is_a_run_with_curves_and_the_settings_that_it_read(dashboard: Run) -> None:
    found = runs(dashboard)
    for name, one in found.items():
        stage = name.partition("/")[2]
        if not stage:
            continue
        (folder,) = dashboard.folder.glob(f"store/{stage}-*")
        record = json.loads((folder / "record.json").read_text())
        report = json.loads((folder / "report.json").read_text())
        assert one.run.run_id.startswith(f"b-{stage}-{record['key']}-") and one.run.job_type == "stage"
        assert one.config["key"] == record["key"] and one.config["pipeline"] == "b" and one.config["task"] == "table"
        assert ("prune" in one.config) == (stage == "prune_student")
        assert one.config["settings"]["task"]["labels"] == 4 and "stages" not in one.config
        assert len(one.curves.get("train/loss", [])) == len(one.curves.get("val/macro_f1", [])) == report["epochs"]
    assert len(found["b/teacher"].curves["val/macro_f1"]) == 2
    assert {"stage", "distillation", "pruning"} <= {*found["b/prune_student"].run.tags, *found["b/prune_student"].tags}


def test_artifacts_say_what_came_from_what(dashboard: Run) -> None:
    folders = {path.name for path in dashboard.folder.glob("store/*-*")}
    edges = {name: (sorted(one.uses), sorted(one.makes)) for name, one in runs(dashboard).items()}
    (corpus,) = (f"corpus-{name.partition('-')[2]}" for name in folders if name.startswith("task-"))
    by_stage = {name.rpartition("-")[0]: name for name in folders}
    assert edges["b/teacher"] == ([corpus], [by_stage["teacher"]])
    assert edges["b/student"] == (sorted([corpus, by_stage["teacher"]]), [by_stage["student"]])
    assert edges["b/prune_student"] == (sorted([corpus, by_stage["student"]]), [by_stage["prune_student"]])
    assert {corpus, by_stage["recover_student"]} <= {*edges["b"][0]} and not edges["b"][1]


def test_all_rows_are_a_table_of_the_pipeline(dashboard: Run) -> None:
    logged = runs(dashboard)["b"]
    table = pl.read_csv(dashboard.folder / "run" / "table.csv")
    assert logged.run.job_type == "pipeline" and logged.config["settings"]["prune"]["ratio"] == RATIO
    place = logged.summary["tables/results"]["path"]
    (path,) = dashboard.folder.glob(f"dashboard/wandb/offline-run-*/files/{place}")
    sent = json.loads(path.read_text())
    assert sent["columns"] == table.columns and len(sent["data"]) == len(table) == 6
    column = table.columns.index("macro_f1")
    assert [row[column] for row in sent["data"]] == pytest.approx(table["macro_f1"].to_list())
    tables = ("labels", "gates", "devices", "lineage", "disagreements", "calibration")
    assert {f"tables/{name}" for name in tables} <= {*logged.summary}
    assert not [name for name in logged.curves if name.startswith("tables/")]


def test_a_reused_stage_is_a_run_too(dashboard: Run, tmp_path: Path) -> None:
    seen = Seen()
    record = RunRecord.read(dashboard.folder / "run")
    again = replace(record, stages=tuple(replace(stage, cached=True) for stage in record.stages))
    written = replace(WrittenReport.read(dashboard.folder / "run"), runs=(again,))
    publish_run(written, seen)
    found = seen.runs
    assert [run.kind for run in found] == ["stage"] * 4 + ["pipeline"]
    assert all({*run.summary} == COLUMNS and run.summary["cached"] is True for run in found)
    first = runs(dashboard)["b/teacher"]
    assert {name: own for name, own in found[0].summary.items() if name != "cached"} == pytest.approx(
        {name: first.summary[name] for name in COLUMNS - {"cached"}}
    )
    assert {*found[0].settings} == {*first.config} - {"_wandb"}


def test_nothing_is_written_outside_its_folder(dashboard: Run) -> None:
    assert {path.name for path in dashboard.folder.iterdir()} == {"notes.csv", "store", "run", "dashboard"}
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_online_needs_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    told = "needs an account, got no login; run `wandb login`, or keep mode=offline"
    with pytest.raises(ConfigError, match=told):
        Wandb(mode="online", folder=str(tmp_path))

    def spoilt(**given: Any) -> bool:
        raise wandb.errors.AuthenticationError("the key is too short")

    monkeypatch.setattr(wandb, "login", spoilt)
    with pytest.raises(ConfigError, match="the key is too short; run"):
        Wandb(mode="online", folder=str(tmp_path))
    asked: list[Any] = []

    def granted(**given: Any) -> bool:
        asked.append(given)
        return True

    monkeypatch.setattr(wandb, "login", granted)
    assert Wandb(mode="online", folder=str(tmp_path)).mode == "online"
    assert asked == [{"prompt": False, "verify": False}] and not list(tmp_path.iterdir())


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="logger.mode must be offline or online, got 'dryrun'"):
        Wandb(mode="dryrun")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="logger.upload must be digests or models, got 'all'"):
        Wandb(upload="all")  # type: ignore[arg-type]


# Files, and nothing.


def test_curves_are_kept_beside_the_artifact(sheets: Run) -> None:
    (folder,) = sheets.folder.glob("store/teacher-*")
    curves = pl.read_csv(folder / "logs" / "attempt_0" / "metrics.csv")
    assert curves["train/loss"].drop_nulls().len() == curves["val/macro_f1"].drop_nulls().len() == 2
    assert "logs/attempt_0/metrics.csv" in json.loads((folder / "record.json").read_text())["files"]


def test_a_resumed_stage_begins_a_new_attempt(tmp_path: Path) -> None:
    for attempt in range(3):
        logger = Csv().stage("teacher", "key", tmp_path, {})
        assert isinstance(logger, CSVLogger)
        logger.log_metrics({"val/loss": float(attempt)}, step=1)
        logger.save()
    told = [pl.read_csv(path)["val/loss"].item() for path in sorted(tmp_path.glob("logs/attempt_*/metrics.csv"))]
    assert told == [0.0, 1.0, 2.0]


def test_nowhere_is_nowhere(tmp_path: Path) -> None:
    logger = NullLogger()
    assert logger.stage("teacher", "key", tmp_path, {}) is None
    logger.stage_done({})
    logger.publish(TrackedRun("a", "pipeline", "key", {}, {}))
    assert not list(tmp_path.iterdir())
