"""A short form of `make torture`: a few attacks of every kind, all survived."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

COUNTS = (
    {"kills": 3, "models": 20, "reports": 3, "disk": 1, "determinism": 1},
    {"damage": 5, "soak": 20_000, "clock": 1, "others": 2},
    {"privacy": 4, "inputs": 400, "fuzz": 500},
)


KINDS = sorted(name for counts in COUNTS for name in counts)


@pytest.mark.integration
@pytest.mark.parametrize("counts", COUNTS, ids=" ".join)
def test_a_few_attacks_of_every_kind_are_survived(counts: dict[str, int], tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HF_HUB_OFFLINE": "1"}
    words = [f"{name}={counts.get(name, 0)}" for name in KINDS]
    told = subprocess.run(
        [sys.executable, "-m", "torture", *words, "seed=1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=540,
    )
    assert told.returncode == 0, told.stdout[-5000:]
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \| ([^|]+) \|", (tmp_path / "build/torture.md").read_text(), re.M
    )
    counted = [row for row in rows if not row[3].startswith("skipped")]
    assert len(rows) == len(counts) and len(counted) >= len(counts) - 1
    assert all(tried == survived != "0" for _, tried, survived, _ in counted)
