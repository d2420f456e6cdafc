"""The notebooks run from the first cell to the last, and say what they wrote."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def ids(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids)
def test_notebooks_are_stored_as_they_ran_on_any_machine(notebook: Path) -> None:
    """With outputs, in order, and without the paths and warnings of one machine."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs and all(output["output_type"] != "error" for output in outputs)
    text = json.dumps(outputs)
    assert not re.search(r"/(?:home|root|tmp|work|Users)/|Traceback|Warning|\\u001b", text)
    for link in re.findall(r"\]\(([\w./]+)\)", json.dumps(cells)):
        assert (notebook.parent / link).exists(), link


@pytest.mark.integration
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=ids)
def test_notebooks_run(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of their own, with the command of this environment."""
    nbformat = pytest.importorskip("nbformat", reason="the extra notebooks is not installed")
    client = pytest.importorskip("nbclient", reason="the extra notebooks is not installed")
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "notes.csv", folder.parent)
    command = tmp_path / "bin" / "clinlm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m clinlm "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(command.parent), os.environ["PATH"]]))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # its kernel is of this environment
    cells = nbformat.read(notebook, as_version=4)
    client.NotebookClient(
        cells, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert list(folder.glob("outputs/*/*/table.csv"))
    for cell in cells.cells:
        for output in cell.get("outputs", []):
            assert "clinlm: " not in str(output.get("text", "")), "a command that failed says so, and the cell goes on"
