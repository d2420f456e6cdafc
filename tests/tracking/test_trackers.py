"""Laws of the other trackers: each gets curves, columns, settings and tables, and nothing leaves the machine."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.commands import ROOT, SMALL, clinlm
from support.wandb_files import read

pytestmark = pytest.mark.integration
PYTHON = ROOT / ".venv-trackers" / "bin" / "python"
"""Of the environment that has mlflow and trackio; `make integration` makes it."""
STAGES = ("teacher", "student")

MLFLOW = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///outputs/mlflow.db")
(experiment,) = client.search_experiments(filter_string="name = 'clinlm'")
found = {}
for run in client.search_runs([experiment.experiment_id]):
    number = run.info.run_id
    found[run.info.run_name] = {
        "status": run.info.status, "kind": run.data.tags["kind"],
        "columns": run.data.metrics, "settings": run.data.params,
        "epochs": len(client.get_metric_history(number, "val/macro_f1")),
        "files": [own.path for own in client.list_artifacts(number)],
        "tables": [own.path for own in client.list_artifacts(number, "tables")],
    }
print(json.dumps(found))
"""
TRACKIO = """
import json
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
found = {}
for run in Api().runs("clinlm"):
    rows = SQLiteStorage.get_logs("clinlm", run.name)
    columns = {name: value for row in rows for name, value in row.items()}
    epochs = sum("val/macro_f1" in row for row in rows)
    found[run.name] = {"columns": columns, "settings": run.config, "epochs": epochs}
print(json.dumps(found, default=str))
"""
TENSORBOARD = """
import json
from pathlib import Path
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
root, found = Path("outputs/tensorboard"), {}
for place in {path.parent for path in root.rglob("events*")}:
    events = EventAccumulator(str(place))
    events.Reload()
    scalars = events.Tags()["scalars"]
    found[str(place.relative_to(root))] = {name: [own.value for own in events.Scalars(name)] for name in scalars}
print(json.dumps(found))
"""


@dataclass
class Outside:
    """The way out of the machine: a proxy of loopback that lets nothing through.

    Attributes:
        asked: first line of every request.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def outside() -> Iterator[Outside]:
    state = Outside()
    with socket.create_server(("127.0.0.1", 0)) as server:
        state.url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def refuse() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:  # closed: the test has ended
                    return
                with caller:
                    state.asked.append(caller.recv(300).decode(errors="replace").partition("\r\n")[0])

        threading.Thread(target=refuse, daemon=True).start()
        yield state


def logged(notes: Path, folder: Path, outside: Outside, *overrides: str) -> dict[str, dict[str, Any]]:
    """Run a pipeline of two stages, and return the rows of its table by name; nothing else was said or asked."""
    if not PYTHON.is_file():
        pytest.skip(f"{PYTHON} is not there; `make integration` makes it")
    (folder / "home").mkdir()
    everywhere = {name: outside.url for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")}
    own = {"HOME": str(folder / "home"), "NO_PROXY": "", "no_proxy": "", "CI": ""}  # in CI some ask nothing anyway
    small = [*SMALL, "student.layers=1", f"task.root={notes}", "pipeline=distillation"]
    done = clinlm(folder, *small, *overrides, python=str(PYTHON), **everywhere, **own)
    assert done.returncode == 0, done.stderr
    assert not outside.asked
    said = (done.stdout + done.stderr).lower()
    assert not [word for word in ("mlflow", "trackio", "uploading", "warning") if word in said]
    assert not [path for path in (folder / "home").rglob("*") if path.is_file() and "matplotlib" not in str(path)]
    (table,) = folder.glob("outputs/runs/*/table.json")
    return {row["name"]: row for row in json.loads(table.read_text(encoding="utf-8"))["rows"]}


def asked_of(program: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What a tracker's own reader finds in `folder`, by name of the run."""
    places = {"TRACKIO_DIR": str(folder / "outputs" / "trackio"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [str(PYTHON), "-c", program], cwd=folder, env=os.environ | places, capture_output=True, text=True, check=True
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_columns(found: dict[str, dict[str, Any]], rows: dict[str, dict[str, Any]]) -> None:
    """Two stages and their pipeline have the columns that the table has."""
    assert found.keys() == {"distillation/teacher", "distillation/student", "distillation"}
    for name, own in found.items():
        row = rows[name.partition("/")[2] or "student"]
        assert float(own["columns"]["final/micro_f1"]) == pytest.approx(row["quality"]["micro_f1"])
        assert float(own["columns"]["validation/macro_f1"]) == pytest.approx(row["validation"]["macro_f1"])
        assert float(own["columns"]["final/bytes"]) == row["bytes"]
        assert own["settings"]["pipeline"] == "distillation"
        assert not [setting for setting in own["settings"] if setting.startswith("logger")]


def test_mlflow(notes_csv: Path, tmp_path: Path, outside: Outside) -> None:
    rows = logged(notes_csv, tmp_path, outside, "logger=mlflow")
    found = asked_of(MLFLOW, tmp_path)
    check_columns(found, rows)
    assert {own["status"] for own in found.values()} == {"FINISHED"}
    assert [found[f"distillation/{stage}"]["epochs"] for stage in STAGES] == [1, 1]
    assert {own["kind"] for own in found.values()} == {"stage", "pipeline"}
    whole = found["distillation"]
    assert {"lineage.json", "report.html", "tables"} <= {*whole["files"]}
    assert {"tables/results.csv", "tables/labels.csv", "tables/lineage.csv"} <= {*whole["tables"]}


def test_trackio(notes_csv: Path, tmp_path: Path, outside: Outside) -> None:
    rows = logged(notes_csv, tmp_path, outside, "logger=trackio")
    found = {name.rpartition("-")[0]: own for name, own in asked_of(TRACKIO, tmp_path).items()}
    check_columns(found, rows)
    assert [found[f"distillation/{stage}"]["epochs"] for stage in STAGES] == [1, 1]
    assert {"tables/results", "tables/labels", "tables/lineage"} <= found["distillation"]["columns"].keys()


def test_tensorboard_among_many(notes_csv: Path, tmp_path: Path, outside: Outside) -> None:
    added = [f"+logger@logger.loggers.{name}={name}" for name in ("tensorboard", "mlflow", "trackio")]
    rows = logged(notes_csv, tmp_path, outside, "logger=many", *added)
    names = {"distillation", *(f"distillation/{stage}" for stage in STAGES)}
    shown = {name.rpartition("/")[0]: own for name, own in asked_of(TENSORBOARD, tmp_path).items()}
    assert shown.keys() == names
    for name, own in shown.items():
        row = rows[name.partition("/")[2] or "student"]
        assert own["final/micro_f1"] == pytest.approx([row["quality"]["micro_f1"]])
        assert ("val/macro_f1" in own) == ("/" in name)
    assert asked_of(MLFLOW, tmp_path).keys() == names
    assert {name.rpartition("-")[0] for name in asked_of(TRACKIO, tmp_path)} == names
    offline = [read(path) for path in tmp_path.glob("outputs/wandb/offline-run-*/*.wandb")]
    assert {one.run.display_name for one in offline} == names
    assert len([*tmp_path.glob("outputs/store/*/logs/attempt_0/metrics.csv")]) == 2
