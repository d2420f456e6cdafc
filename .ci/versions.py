"""`make lowest` and `make newest`: a part of the tests with the oldest, or newest, versions that pyproject.toml allows.

    python .ci/versions.py lowest|newest [ARGUMENT OF PYTEST ...]

installs them into .venv-lowest or .venv-newest, writes what they are to build/lowest.txt or build/newest.txt, and runs
a pipeline and the tests below with them. Without constraints.txt, extras, and the pins of `make test`: this says
whether the bounds of the packages that every installation has are true. A lowest version is a bound `>=X`; what those
packages need in turn is pip's choice. torch is always that of pyproject.toml.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("beartype", "hypothesis", "pytest", "pytest-xdist")
RUN = (
    *("task=table", f"task.root={ROOT / 'docs/notes.csv'}", "task.corpus.text=note", "task.corpus.labels=diagnoses"),
    *("task.max_tokens=24", "model@teacher=tiny", "teacher.vocabulary=150", "epochs=1", "trainer=cpu"),
    *("teacher.config.max_position_embeddings=32", "student.layers=1", "prune.skip_std=0", "prune.ratio=0.25"),
    *("report.resamples=20", "report.latency_documents=3", "report.latency_passes=1", "pipeline=b", "logger=many"),
)
"""A whole run, with its tables, plots, page, cards and offline runs of W&B: it uses every package."""
TESTS = (
    *(
        "tests/config/test_overrides.py",
        "tests/store/test_content.py",
        "tests/store/test_key.py",
        "tests/files/test_delimited.py",
    ),
    *("tests/text/test_tokens.py", "tests/text/test_long_notes.py", "tests/models/test_model.py"),
    *("tests/models/test_adapters.py", "tests/metrics/test_classification.py", "tests/pipeline/test_execution.py"),
    "tests/callbacks/test_keep_best.py",
)
"""What is nearest to the packages: configuration, keys, readers, tokenizers, networks, adapters, metrics, training."""
OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-o", "filterwarnings=ignore"),
    *("-o", "addopts=-m 'not integration' --import-mode=importlib"),
)
"""Warnings are errors and shapes are checked in `make test`, with the versions of constraints.txt; other versions
deprecate other things, and check shapes otherwise (`tests/support/shape_hook.py`)."""


def requirements() -> list[str]:
    """Return what every installation of clinlm needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def lowest(requirement: str) -> str:
    """Return a requirement at its lower bound: `numpy>=2.0,<3` becomes `numpy==2.0`.

    Raises:
        SystemExit: it has none.
    """
    found = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?(?:>=|==)([\w.]+)(?:,.*)?", requirement)
    if not found:
        sys.exit(f"a requirement must be NAME>=VERSION, got {requirement!r}; give it a lower bound in pyproject.toml")
    return f"{found[1]}=={found[2]}"


def run(*words: str | Path, folder: str | Path = ROOT, **environment: str) -> None:
    """Run a command in a folder; end with its status if it fails."""
    done = subprocess.run([*map(str, words)], cwd=folder, env=os.environ | environment)
    if done.returncode:
        sys.exit(done.returncode)


def main(which: str, *arguments: str) -> None:
    """Install one end of the range, and test it."""
    if which not in ("lowest", "newest"):
        sys.exit(f"versions.py needs lowest or newest, got {which!r}")
    place = ROOT / f".venv-{which}"
    written = ROOT / "build" / f"{which}.txt"
    written.parent.mkdir(exist_ok=True)
    wanted = [lowest(one) for one in requirements()] if which == "lowest" else requirements()
    written.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
    newer = ["--upgrade", "--upgrade-strategy=eager"] if which == "newest" else []
    run(python, "-m", "pip", "install", *newer, "--constraint", written, "--editable", ".", *TOOLS)
    frozen = subprocess.run([python, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True)
    written.write_text(frozen.stdout, encoding="utf-8")
    asked = {re.split(r"[^\w.-]", one)[0].lower() for one in requirements()}
    print(which, *(line for line in frozen.stdout.splitlines() if line.partition("==")[0].lower() in asked))
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "clinlm", *RUN, folder=folder, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    run(python, "-m", "pytest", *OPTIONS, *(arguments or TESTS), OMP_NUM_THREADS="1", CLINLM_UNCHECKED_SHAPES="1")


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
