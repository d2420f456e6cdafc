"""What libraries keep between runs lies in a folder of the process, and goes with it; places that a user set stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.commands import ROOT

from clinlm.config.private_caches import CACHES

FILL = f"""
import json, os, subprocess, sys
import clinlm
places = [os.environ[name] for name in {CACHES}]
for place in places:
    os.makedirs(place, exist_ok=True)
    open(os.path.join(place, "kept"), "w").close()
if len(sys.argv) > 1:
    print(json.dumps(places), flush=True)
    subprocess.run([sys.executable, "-c", open(sys.argv[1]).read()], check=True)
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    assert all(os.path.isfile(os.path.join(place, "kept")) for place in places), "theirs is not removed by its children"
"""


def run(folder: Path, **more: str) -> list[Path]:
    """Run FILL, which starts itself once more; return the places that the first process had."""
    (folder / "tmp").mkdir()
    (folder / "fill.py").write_text(FILL)
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "TMPDIR": str(folder / "tmp")} | more
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(folder / "fill.py")], env=env, capture_output=True, text=True, check=True
    )
    return [Path(place) for place in json.loads(done.stdout)]


def test_the_folder_goes_with_the_process_that_named_it(tmp_path: Path) -> None:
    places = run(tmp_path)
    assert {place.parent.parent for place in places} == {tmp_path / "tmp"}, "both in one folder, in $TMPDIR"
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_a_place_that_the_user_set_stays(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    first, second = run(tmp_path, **{CACHES[0]: str(mine)})
    assert first == mine and (mine / "kept").is_file()
    assert second.parent.parent == tmp_path / "tmp" and [*(tmp_path / "tmp").iterdir()] == []


def test_what_killed_processes_left_goes_after_a_week(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    names = {f"clinlm-{'0' * 16}": True, f"clinlm-{'1' * 16}": False, "clinlm-notes": True, "other": True}
    for name, old in names.items():
        (temporary / name / "kept").mkdir(parents=True)
        os.utime(temporary / name, (0, 0) if old else None)
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", "import clinlm"], env=env, check=True)
    assert {path.name for path in temporary.iterdir()} == set(names) - {f"clinlm-{'0' * 16}"}
