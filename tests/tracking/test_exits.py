"""Laws of how trackers end: nothing that waits is lost, and nothing stays in the system's temporary folder."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import ROOT

from clinlm.cli.main import run_command
from clinlm.tracking.trackio import Trackio


def test_a_run_of_trackio_that_fails_keeps_no_other_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def finish(name: str) -> None:
        if name == "second":
            raise OSError("full")
        done.append(name)

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setattr("clinlm.tracking.trackio.imported", lambda *_: SimpleNamespace())
    monkeypatch.setattr("atexit.register", lambda end: None)
    logger = Trackio(folder=str(tmp_path))
    names = ("first", "second", "third")
    logger._open = {name: SimpleNamespace(finish=lambda name=name: finish(name)) for name in names}
    with pytest.raises(OSError, match="full"):
        logger._finish()
    assert done == ["first", "third"]


@pytest.mark.integration
def test_a_killed_run_leaves_no_file_of_wandb_in_the_temporary_folder(tmp_path: Path) -> None:
    place, folder = tmp_path / "tmp", tmp_path / "outputs"
    place.mkdir()
    script = (
        "import os, sys\nfrom clinlm.tracking.wandb_content import staging\nwith staging(sys.argv[1]):\n"
        "    import wandb\n    made = wandb.Artifact('one', 'model')\n"
        "    with made.new_file('digests.json'):\n        pass\nos._exit(9)"
    )
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script, str(folder)], env=environment, check=False, timeout=300)
    assert done.returncode == 9
    assert [*place.iterdir()] == [] and len([*(folder / "wandb" / "tmp").iterdir()]) == 3


def test_an_agent_says_where_allow_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command("agent", ["ward/notes/abc", "allow=[mylab.]"])
    told = " ".join(capsys.readouterr().err.split())
    assert "from its own command, got allow=[mylab.] for the agent; add `- allow=[mylab.]`" in told
    assert "`command` in wandb_sweep.yaml" in told
