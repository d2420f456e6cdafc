"""Laws of W&B online, against a server on loopback that speaks its protocol: what arrives, and that no run stops."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wandb
from support.wandb_files import read
from support.wandb_server import KEY, WandbServer, serving

from clinlm.report.columns import summary_columns
from clinlm.tracking.base import Announcement, TrackedArtifact, TrackedRun
from clinlm.tracking.wandb import Wandb, wandb_again

pytestmark = pytest.mark.integration
TEACHER = TrackedArtifact("teacher-abc", "model", {"stage": "teacher"}, {"model.safetensors": "00"})
STUDENT = TrackedArtifact("student-def", "model", {"stage": "student"}, {"model.safetensors": "01"})
CORPUS = TrackedArtifact("corpus-123", "corpus", {"documents": 9})


def finished(name: str, key: str, uses: tuple[TrackedArtifact, ...], makes: tuple[TrackedArtifact, ...]) -> TrackedRun:
    """A stage as a report tells of it."""
    summary = summary_columns(None, "test") | {"final/micro_f1": 0.5, "validation/macro_f1": 0.25}
    tables = {"results": pl.DataFrame({"name": ["x", "y"], "micro_f1": [0.5, None]})}
    settings = {"pipeline": "b", "prune": "wanda", "settings": {"prune": {"ratio": 0.3}}}
    return TrackedRun(name, "stage", key, settings, summary, tables, {}, uses, makes, ("stage",), "clinlm pipeline=b")


RUN = finished("b/student", "def", (CORPUS, TEACHER), (STUDENT,))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WandbServer]:
    with serving() as state:
        reach(monkeypatch, state.url, tmp_path)
        yield state
        wandb_again()


def reach(patch: pytest.MonkeyPatch, url: str, folder: Path) -> None:
    """Let wandb take `url` for its server, and keep all that it writes in `folder`."""
    places = {"WANDB_DATA_DIR": str(folder / "data"), "WANDB_CACHE_DIR": str(folder / "cache")}
    for name, value in ({"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "NETRC": str(folder / "netrc")} | places).items():
        patch.setenv(name, value)
    patch.delenv("WANDB_MODE", raising=False)
    wandb_again()


def kept(folder: Path, kind: str = "offline-") -> list[Any]:
    """The runs that are on disk for `wandb sync`, once the process behind wandb has written all."""
    wandb_again()
    return [read(path) for path in sorted(folder.glob(f"wandb/{kind}run-*/*.wandb"))]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("clinlm")]


def test_runs_arrive_with_columns_settings_and_what_came_from_what(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = Wandb("ward", "sweep", str(tmp_path), "online")
    logger.announce({"student": Announcement("b/student", {"pipeline": "b"}, "clinlm pipeline=b")})
    curves = logger.stage("student", "def", tmp_path, {})
    assert curves is not None
    for step in range(3):
        curves.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    logger.publish(RUN)
    (run,) = server.runs.values()
    assert run["name"].startswith("b-student-def-") and run["displayName"] == "b/student"
    assert (run["project"], run["groupName"], run["jobType"], run["tags"]) == ("ward", "sweep", "stage", ["stage"])
    assert run["notes"] == "clinlm pipeline=b" and run["exit"] == 0
    assert run["config"]["settings"] == {"prune": {"ratio": 0.3}} and run["config"]["prune"] == "wanda"
    arrived = {name: own for name, own in run["summary"].items() if not name.startswith(("_", "tables/"))}
    assert arrived == {name: own for name, own in RUN.summary.items() if own is not None}
    assert run["summary"]["tables/results"]["ncols"] == 2
    losses = [row["train/loss"] for row in run["history"] if "train/loss" in row]
    assert losses == pytest.approx([1, 1 / 2, 1 / 3])
    assert {name: own["made_by"] for name, own in server.artifacts.items() if name == "student-def"} == {
        "student-def": run["name"]
    }
    assert server.uses == {(run["name"], "corpus-123"), (run["name"], "teacher-abc")}
    assert all(own["state"] == "COMMITTED" for own in server.artifacts.values())
    said = capfd.readouterr()
    assert not said.out and not said.err


def test_an_artifact_that_the_server_knows_is_one_version(server: WandbServer, tmp_path: Path) -> None:
    logger = Wandb(folder=str(tmp_path), mode="online")
    logger.publish(finished("b/teacher", "abc", (CORPUS,), (TEACHER,)))
    digests = {name: own["digest"] for name, own in server.artifacts.items() if name in ("teacher-abc", "corpus-123")}
    logger.publish(RUN)
    assert digests == {name: server.artifacts[name]["digest"] for name in digests}
    teacher = next(name for name in server.runs if "teacher" in name)
    assert server.artifacts["teacher-abc"]["made_by"] == teacher and len(server.runs) == 2


def test_a_server_that_fails_stops_nothing_and_loses_nothing(
    server: WandbServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.fails = 500
    with caplog.at_level(logging.WARNING):
        logger = Wandb(folder=str(tmp_path), mode="online", timeout_s=4.0)
        logger.publish(finished("b/teacher", "abc", (CORPUS,), (TEACHER,)))
        logger.publish(RUN)
    (warning,) = warnings(caplog)
    assert "from here all runs are kept offline" in warning and "wandb sync" in warning
    found = {one.run.display_name: one for one in kept(tmp_path)}
    assert found.keys() == {"b/teacher", "b/student"}
    student = found["b/student"]
    assert student.summary["final/micro_f1"] == 0.5 and student.uses == {"corpus-123", "teacher-abc"}


@pytest.mark.parametrize("how", ["closed", "deleted", "goes away"])
def test_whatever_a_server_does_the_run_goes_on(
    how: str, server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "closed":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        reach(monkeypatch, url, tmp_path)
    server.deleted = how == "deleted"
    with caplog.at_level(logging.WARNING):
        logger = Wandb(folder=str(tmp_path), mode="online", timeout_s=8.0)
        curves = logger.stage("student", "def", tmp_path, {})
        assert curves is not None
        server.fails = 500 if how == "goes away" else 0
        for step in range(5):
            curves.log_metrics({"train/loss": float(step)}, step)
        logger.publish(RUN)
    found = kept(tmp_path, "*")
    whole = [one for one in found if one.summary.get("final/micro_f1") == 0.5]
    assert {"corpus-123", "teacher-abc"} in [one.uses for one in whole]
    losses = [value for one in found for value in one.curves.get("train/loss", [])]
    assert losses == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(warnings(caplog)) == 1


def test_a_login_is_not_asked_of_a_server(server: WandbServer, tmp_path: Path) -> None:
    server.fails = 500
    assert Wandb(folder=str(tmp_path), mode="online", timeout_s=1.0).mode == "online"
    assert wandb.run is None
