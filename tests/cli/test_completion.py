"""Shell completion: `clinlm -sc query=bash` prints what can follow COMP_LINE."""

import json
import os
import subprocess
import sys

import pytest
from support.commands import ROOT

SCRIPT = """
import json, sys
from clinlm.cli.main import main
sys.argv = ["clinlm", "-sc", "query=bash"]
main()
print(json.dumps("torch" in sys.modules))
"""


def choices(line: str) -> list[str]:
    """Return what is suggested after a command line; torch is not imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(ROOT), "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    *found, torch = done.stdout.split()
    assert done.returncode == 0 and not done.stderr and not json.loads(torch), done.stderr
    return found


def test_names_of_commands_are_completed_with_groups_and_settings() -> None:
    found = choices("clinlm pr")
    assert {"predict", "prune=", "precision="} <= {*found} and "label" not in found


def test_pipelines_are_completed_as_before() -> None:
    assert {"prune=wanda", "prune=depth"} <= {*choices("clinlm pipeline=a prune=")}


def test_settings_of_predict_are_completed(tmp_path_factory: pytest.TempPathFactory) -> None:
    keys = [
        "artifact=",
        "batch_tokens=",
        "coverage=",
        "encoding=",
        "id=",
        "input=",
        "output=",
        "rejects=",
        "shadow=",
        "text=",
        "threads=",
    ]
    assert choices("clinlm predict ") == [*keys, "window="]
    assert choices("clinlm predict input=a,b.csv ar") == ["artifact="]
    folder = tmp_path_factory.mktemp("models")
    (folder / "teacher-1").mkdir()
    assert choices(f"clinlm predict artifact={folder}/") == [f"artifact={folder}/teacher-1"]


def test_settings_and_groups_of_label_are_completed() -> None:
    assert {"corpus=", "input=", "labeler.", "labeler=", "span_texts="} <= {*choices("clinlm label ")}
    assert choices("clinlm label pru") == []
    assert choices("clinlm label input=x.csv labeler=ma") == ["labeler=majority"]
    assert "labeler.use=" in choices("clinlm label labeler=majority labeler.u")


def test_settings_and_groups_of_documents_are_completed() -> None:
    assert choices("clinlm documents ") == ["output=", "store=", "task.", "task="]
    assert choices("clinlm documents output=x task=morta") == ["task=mortality"]
    assert "task.corpus." in choices("clinlm documents output=x task=mortality task.c")
