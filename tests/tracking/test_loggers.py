"""Laws of logging: curves, settings and tables arrive, and never a word of a note."""

import contextlib
import csv
import io
import json
import logging
import os
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger
from support.pipelines import composed
from wandb.proto import wandb_internal_pb2

from clinlm.cli.run import run
from clinlm.config.errors import ConfigError
from clinlm.tracking.csv import Csv
from clinlm.tracking.none import NullLogger
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
            run(composed(folder / "notes.csv", folder / "store", "task.max_tokens=64", *overrides))
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


def records(path: Path) -> Iterator[Any]:
    """Read a run file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    content, at, parts = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)  # type: ignore[attr-defined]
            parts = b""


@dataclass
class Logged:
    """One run as wandb would send it."""

    run: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[str, list[Any]]


def read(path: Path) -> Logged:
    logged = Logged(None, {}, {}, defaultdict(list))
    for record in records(path):
        if record.HasField("run"):
            logged.run = record.run
            logged.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        for item in record.config.update:
            logged.config[item.key] = json.loads(item.value_json)
        for item in record.summary.update:
            logged.summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        for item in record.history.item:
            logged.curves["/".join(item.nested_key) or item.key].append(json.loads(item.value_json))
    return logged


def runs(logged: Run) -> dict[str, Logged]:
    found = [read(path) for path in logged.folder.glob("dashboard/wandb/offline-run-*/*.wandb")]
    return {one.run.display_name: one for one in found}


def test_every_stage_is_a_run_with_settings_numbers_and_curves(dashboard: Run) -> None:
    found = runs(dashboard)
    assert found.keys() == {"teacher", "student", "prune_student", "recover_student", "b"}
    assert {one.run.run_group for one in found.values()} == {"mine"}
    assert {one.run.project for one in found.values()} == {"clinlm"}
    for name, one in found.items():
        if name == "b":
            continue
        (folder,) = dashboard.folder.glob(f"store/{name}-*")
        record = json.loads((folder / "record.json").read_text())
        report = json.loads((folder / "report.json").read_text())
        assert one.run.run_id == record["key"] and one.run.job_type == "stage"
        assert {key: one.config[key] for key in record["settings"]} == record["settings"]
        numbers = {key: value for key, value in report.items() if isinstance(value, int | float)}
        assert {key: one.summary[key] for key in numbers} == pytest.approx(numbers)
        epochs = report["epochs"]
        assert len(one.curves.get("train/loss", [])) == len(one.curves.get("val/macro_f1", [])) == epochs
    assert len(found["teacher"].curves["val/macro_f1"]) == 2


def test_the_table_is_a_run_of_the_pipeline(dashboard: Run) -> None:
    logged = runs(dashboard)["b"]
    table = pl.read_csv(dashboard.folder / "run" / "table.csv")
    assert logged.run.job_type == "pipeline"
    assert logged.config["epochs"] == 2 and logged.config["task"]["labels"] == 4
    (place,) = logged.curves["table/path"]
    (path,) = dashboard.folder.glob(f"dashboard/wandb/offline-run-*/files/{place}")
    sent = json.loads(path.read_text())
    assert sent["columns"] == table.columns and len(sent["data"]) == len(table) == 6
    column = table.columns.index("macro_f1")
    assert [row[column] for row in sent["data"]] == pytest.approx(table["macro_f1"].to_list())
    for name, value in table.select("name", "micro_f1").iter_rows():
        assert logged.summary[f"{name}/micro_f1"] == pytest.approx(value)


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
    with pytest.raises(RuntimeError, match="must follow stage"):
        Wandb(folder=str(tmp_path)).stage_done({})


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
    logger.table("a", pl.DataFrame(), {}, tmp_path)
    assert not list(tmp_path.iterdir())
