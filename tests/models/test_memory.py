"""Laws of measured memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clinlm.models.memory import PeakGrowth, PeakMeter


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_the_peak_of_a_block_counts_and_not_what_was_before() -> None:
    """Blocks in one process do not hide each other: the second, smaller one has its own peak."""
    found = []
    for mib in (96, 32):
        with PeakGrowth() as memory:
            block = torch.ones(mib, 1024, 256)
            del block
        assert memory.mib is not None
        found.append(memory.mib)
    assert 90 < found[0] < 130 and 28 < found[1] < 60


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be stopped")
def test_a_process_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped, or stuck in a fork that holds its pipe: the next measurement has a process of its own."""
    fork = "import os, sys, time\nif os.fork():\n    os.wait()\ntime.sleep(600)\n"
    answers = "import sys\nfor line in sys.stdin:\n    print('peak 3.5', flush=True)\n"
    start, scripts = subprocess.Popen, iter([fork, answers])
    monkeypatch.setattr(
        "clinlm.models.memory.subprocess.Popen",
        lambda command, **settings: start([command[0], "-c", next(scripts)], **settings),
    )
    monkeypatch.setattr("clinlm.models.memory._LIMIT_S", 0.3)
    meter = PeakMeter()
    assert meter.measure(tmp_path / "model", 8, []) is None
    assert "memory of model is not measured: no answer within 0.3 s" in caplog.text
    monkeypatch.setattr("clinlm.models.memory._LIMIT_S", 60.0)
    assert meter.measure(tmp_path, 8, []) == meter.measure(tmp_path, 8, []) == 3.5
    meter.close()
