"""Folders of runs and sweeps: nobody shares one, and a command that only asks leaves none."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.commands import ROOT, clinlm

from clinlm.config.errors import ConfigError
from clinlm.config.resolvers import made_folders, own_folder

MANY = """
import sys
from clinlm.config.errors import ConfigError
from clinlm.config.resolvers import own_folder
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    print(own_folder("outputs/runs"), flush=True)
"""


def test_processes_and_threads_get_folders_of_their_own(tmp_path: Path) -> None:
    """40 in about a second, by two processes that begin together; then 20 by threads."""
    command = [sys.executable, "-c", MANY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, **pipes) for _ in range(2)]
    for process in begun:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    got = [name for process in begun for name in process.communicate(timeout=60)[0].split()]
    assert len(got) == 40 == len(list((tmp_path / "outputs/runs").iterdir())) == len({*got})
    assert len({name[: len("outputs/runs/2026-11-29_23-27-21")] for name in got}) < 40, "some began in one second"
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(own_folder, [str(tmp_path / "sweeps")] * 20))
    assert len({*names}) == 20 and {*map(Path, names)} <= {*made_folders()}


def test_a_question_leaves_no_folder(tmp_path: Path) -> None:
    asked = clinlm(tmp_path, "--cfg", "hydra", "--resolve")
    assert asked.returncode == 0 and "outputs/runs/20" in asked.stdout and "outputs/sweeps/20" in asked.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    (tmp_path / "runs").symlink_to(tmp_path / "gone" / "far")
    (tmp_path / "gone").touch()
    for parent in ("outputs/runs", "outputs", "runs"):
        with pytest.raises(ConfigError, match=rf"{parent} must be a folder .* got .*; .* set hydra\.run\.dir"):
            own_folder(str(tmp_path / parent))
