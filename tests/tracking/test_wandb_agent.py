"""Laws of what wandb's own programs do with us: its agents run our command, `wandb sync` sends, `wandb leet` shows."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.commands import SMALL, clinlm
from support.wandb_files import read
from support.wandb_server import KEY, WandbServer, serving

from clinlm.config.errors import ConfigError
from clinlm.report.columns import summary_columns
from clinlm.tracking.agent import agent_command
from clinlm.tracking.base import Announcement, TrackedArtifact, TrackedRun
from clinlm.tracking.wandb import Wandb, wandb_again

pytestmark = pytest.mark.integration

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].)")
"""What moves and colours on a terminal."""


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with serving() as state:
        yield state


def environment(folder: Path, url: str) -> dict[str, str]:
    """Variables with which wandb takes `url` for its server, and keeps all that it writes in `folder`."""
    places = {f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CACHE", "CONFIG")}
    account = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "NETRC": str(folder / "netrc")}
    return places | account | {"WANDB_ERROR_REPORTING": "false"}


def wandb(folder: Path, url: str, *arguments: str) -> str:
    """Run a command of wandb in `folder`, and return what it printed."""
    own = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"} | environment(folder, url)
    command = [sys.executable, "-m", "wandb", *arguments]
    done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_an_agent_runs_our_command_with_the_settings_of_its_sweep(
    server: WandbServer, notes_csv: Path, tmp_path: Path
) -> None:
    typed = [*SMALL, f"task.root={notes_csv}", "pipeline=baseline", "store=store"]
    first = clinlm(tmp_path, *typed, "logger=none", "hydra.run.dir=first")
    assert first.returncode == 0, first.stderr
    made = clinlm(tmp_path, "report", "wandb-sweep", "run=first", "seed=1,2", "metric=validation/micro_f1")
    assert made.returncode == 0, made.stderr
    said = wandb(tmp_path, server.url, "sweep", "--project", "ward", "first/wandb_sweep.yaml")
    (sweep,) = server.sweeps
    assert sweep in said and "validation/micro_f1" in server.sweeps[sweep]
    server.planned = [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    done = clinlm(tmp_path, "agent", f"ward/ward/{sweep}", "count=2", **environment(tmp_path, server.url))
    assert done.returncode == 0, done.stderr
    assert server.agents == [sweep] and len(server.planned) == 1
    pipelines = [run for run in server.runs.values() if run["jobType"] == "pipeline"]
    assert [run["config"]["seed"] for run in pipelines] == [1, 2]
    assert {(run["sweep"], run["project"], run["exit"]) for run in pipelines} == {(sweep, "ward", 0)}
    reports = sorted(tmp_path.glob("outputs/runs/*/.hydra/overrides.yaml"))
    assert [f"seed={seed}" in path.read_text() for seed, path in zip((1, 2), reports, strict=True)] == [True, True]
    told = {run["name"] for run in server.runs.values()}
    assert {name for beat in server.beats for name in beat} < told
    for run in server.runs.values():
        assert run["summary"]["validation/micro_f1"] > 0 and run["groupName"] == sweep
    stages = [run for run in server.runs.values() if run["jobType"] == "stage"]
    assert [run["displayName"] for run in stages] == ["baseline/teacher"] * 2
    assert not any("sweep" in run for run in stages) and not (tmp_path / "wandb").exists()


def test_an_agent_that_is_asked_for_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["a/b/c", "d/e/f"], ["a/b/c", "counts=2"], ["a/b/c", "count=many"]):
        with pytest.raises(ConfigError, match=f"needs ENTITY/PROJECT/SWEEP and at most count=N, got {' '.join(words)}"):
            agent_command(words)
    agent_command([])
    assert "clinlm agent ENTITY/PROJECT/SWEEP [count=N]" in capsys.readouterr().out


TEACHER = TrackedArtifact("teacher-abc", "model", {"stage": "teacher"}, {"model.safetensors": "00"})


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folders of a stage with curves and of its pipeline, kept offline."""
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder, "http://127.0.0.1:9").items():
            patch.setenv(name, value)
        logger = Wandb("ward", "sweep", str(folder))
        logger.announce({"teacher": Announcement("b/teacher", {"pipeline": "b"}, "clinlm pipeline=b")})
        curves = logger.stage("teacher", "abc", folder, {})
        assert curves is not None
        for step in range(3):
            curves.log_metrics({"train/loss": 1.0 / (step + 1), "epoch": step}, step)
        page = folder / "report.html"
        page.write_text("<p>report</p>")
        summary = summary_columns(None, "test") | {"final/micro_f1": 0.5}
        tables: dict[str, Any] = {"results": pl.DataFrame({"name": ["x", "y"], "micro_f1": [0.5, None]})}
        settings: Mapping[str, Any] = {"pipeline": "b"}
        logger.publish(TrackedRun("b/teacher", "stage", "abc", settings, summary, makes=(TEACHER,)))
        files = {"report": page}
        logger.publish(TrackedRun("b", "pipeline", "abc", settings, summary, tables, files, uses=(TEACHER,)))
        wandb_again()
        yield folder
        wandb_again()


def test_sync_sends_what_was_kept_offline(server: WandbServer, offline: Path, tmp_path: Path) -> None:
    kept = {one.run.run_id: one for one in (read(path) for path in offline.glob("wandb/offline-run-*/*.wandb"))}
    wandb(tmp_path, server.url, "sync", *map(str, offline.glob("wandb/offline-run-*")))
    assert server.runs.keys() == kept.keys() and len(kept) == 2
    for name, run in server.runs.items():
        own = kept[name]
        assert (run["displayName"], run["groupName"], run["jobType"], run["exit"]) == (
            own.run.display_name,
            "sweep",
            own.run.job_type,
            0,
        )
        expected = {key: value for key, value in own.summary.items() if value is not None and key.startswith("final/")}
        assert {key: value for key, value in run["summary"].items() if key.startswith("final/")} == expected
        losses = [row["train/loss"] for row in run["history"] if "train/loss" in row]
        assert losses == pytest.approx(own.curves.get("train/loss", []))
    pipeline = next(name for name, run in server.runs.items() if run["jobType"] == "pipeline")
    assert server.uses == {(pipeline, "teacher-abc")} and server.artifacts["teacher-abc"]["state"] == "COMMITTED"
    sent = [path for path in server.files if path.startswith(f"/files/{pipeline}/media")]
    assert any("tables/results" in path for path in sent) and any("report" in path for path in sent)


def on_a_terminal(folder: Path, until: Sequence[str], *arguments: str) -> str:
    """Run wandb on a terminal of 200 columns until it has drawn all of `until`; return what it drew."""
    pty, termios = (pytest.importorskip(name) for name in ("pty", "termios"))
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    own = os.environ | environment(folder, "http://127.0.0.1:9") | {"TERM": "xterm-256color"}
    command = [sys.executable, "-m", "wandb", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env=own, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    drawn, text, end = b"", "", time.monotonic() + 120
    while not all(word in text for word in until) and time.monotonic() < end and process.poll() is None:
        if select.select([ours], [], [], 0.2)[0]:
            got = os.read(ours, 65536)
            drawn += got
            for asked, answer in ((b"\x1b[6n", b"\x1b[1;1R"), (b"\x1b[c", b"\x1b[?62;c")):
                if asked in got:
                    os.write(ours, answer)
            text = ESCAPES.sub("", drawn.decode(errors="ignore"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    os.close(ours)
    os.close(theirs)
    return text


def test_leet_shows_the_names_of_runs_and_draws_their_curves(offline: Path, tmp_path: Path) -> None:
    (stage,) = offline.glob("wandb/offline-run-*-b-teacher-abc-*")
    shown = ("Name: b/teacher", "train/loss")
    drawn = on_a_terminal(tmp_path, shown, "leet", str(stage))
    assert all(word in drawn for word in shown), drawn


def test_leet_draws_no_chart_of_a_table(offline: Path, tmp_path: Path) -> None:
    """It draws what was logged as a number of a step; a pipeline has none, so all of it is in the summary."""
    for path in offline.glob("wandb/offline-run-*"):
        said = wandb(tmp_path, "http://127.0.0.1:9", "leet", "inspect", "--summary", str(path))
        assert "final/micro_f1" in said and re.search(r"^run +b(/teacher)? ", said, re.M)
        curves = read(next(path.glob("*.wandb"))).curves
        pages = {name.removesuffix("/_type") for name in curves if name.endswith("/_type")}
        numbers = {name for name, values in curves.items() if isinstance(values[0], int | float) and name[0] != "_"}
        drawn = {name for name in numbers if name.rpartition("/")[0] not in pages}
        expected = {"train/loss", "epoch", "trainer/global_step"} if "teacher" in path.name else set()
        assert drawn == expected
