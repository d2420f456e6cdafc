"""A short form of `make torture`: a few attacks of every kind, all survived."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

COUNTS = {"kills": 5, "damage": 8, "models": 20, "disk": 1, "determinism": 1, "inputs": 400}


@pytest.mark.integration
def test_a_few_attacks_of_every_kind_are_survived(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HF_HUB_OFFLINE": "1"}
    words = [f"{name}={count}" for name, count in COUNTS.items()]
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
    assert len(rows) == len(COUNTS) and len(counted) >= len(COUNTS) - 1
    assert all(tried == survived != "0" for _, tried, survived, _ in counted)
