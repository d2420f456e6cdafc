"""`python .ci/notebooks.py`: run the notebooks of docs/notebooks, and store them with what they answered.

Needs the extra `notebooks`, in the environment that has clinlm. Each runs in a folder of its own; blank lines, colours
and progress are left out of what is stored.
"""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|^(?:Epoch .*|\s+(?:val|train)/loss: .*)?[ \t]*\n|[ \t]+$", re.M)


def main() -> None:
    """Run and store every notebook."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "notebooks"
            folder.mkdir()
            shutil.copy(ROOT / "docs" / "notes.csv", name)
            cells = nbformat.read(path, as_version=4)
            place = {"metadata": {"path": str(folder)}}
            NotebookClient(cells, timeout=1200, kernel_name="python3", resources=place).execute()
        nbformat.write(tidied(cells), path)
        print(path)


def tidied(notebook: Any) -> Any:
    """Return a notebook without the times of its cells and the noise of their outputs; neighbouring outputs are one."""
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        kept: list[Any] = []
        for output in cell.get("outputs", []):
            if kept and output.get("name") == kept[-1].get("name") is not None:
                kept[-1]["text"] += output["text"]
            else:
                kept.append(output)
        for output in kept:
            if "text" in output:
                output["text"] = _NOISE.sub("", output["text"].replace("\r", ""))
        if kept:
            cell["outputs"] = kept
    return notebook


if __name__ == "__main__":
    main()
