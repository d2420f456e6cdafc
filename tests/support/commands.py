"""The command line as a user meets it: processes of their own, with a network of one layer."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = [
    "task=table",
    "task.corpus.id=id",
    "task.corpus.group=group",
    "task.max_tokens=24",
    "model@teacher=tiny",
    "teacher.vocabulary=150",
    "teacher.config.max_position_embeddings=32",
    "epochs=1",
    "batch_size=8",
    "trainer=cpu",
    "precision=32-true",
    "report.resamples=20",
    "report.latency_documents=3",
    "report.latency_passes=1",
]
"""Of a run that takes seconds. The table's path and the store are added."""
PRUNED = ["student.layers=1", "prune.skip_std=0", "prune.ratio=0.25"]
"""Of pipelines with a student that is pruned."""


def clinlm(
    folder: Path, *arguments: str, python: str = sys.executable, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m clinlm` in `folder`, in which nothing of the project lies.

    Args:
        more: variables of the environment.
    """
    environment = {"PYTHONPATH": str(ROOT), "CI": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more
    return subprocess.run(
        [python, "-m", "clinlm", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
