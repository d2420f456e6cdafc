"""No library of ours calls home: its switches are set before it is imported, whatever was set before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

from clinlm.config.telemetry import NO_TELEMETRY

SHOW = "import clinlm, json, os; print(json.dumps(dict(os.environ)))"
SESSION = """
import time
import clinlm
import onnxruntime as ort
from onnx import TensorProto, helper
import numpy as np

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
end = time.monotonic() + 14
while time.monotonic() < end:
    session.run(None, {"x": np.zeros(4, np.float32)})
    time.sleep(0.2)
"""
"""Runs for longer than ONNX Runtime 1.31 waits before it looks up the host of its makers, 10 s."""


def test_every_switch_is_off_whatever_was_set() -> None:
    for given in ("0", "false", ""):
        env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **dict.fromkeys(NO_TELEMETRY, given)}
        shown = json.loads(
            subprocess.run([sys.executable, "-c", SHOW], env=env, capture_output=True, check=True).stdout
        )
        assert {name: shown[name] for name in NO_TELEMETRY} == NO_TELEMETRY


@pytest.mark.integration
def test_a_session_of_onnx_runtime_asks_no_host_and_leaves_no_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    home, temporary, trace = tmp_path / "home", tmp_path / "tmp", tmp_path / "trace"
    home.mkdir()
    temporary.mkdir()
    # Not the environment of the test: onnxruntime sends nothing where CI is set.
    env = {"PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(temporary), "PATH": os.environ["PATH"]}
    watched = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    if shutil.which("strace") is None or subprocess.run([*watched, "true"], capture_output=True).returncode:
        pytest.skip("strace is not there, or must not trace here: apt-get install strace")
    subprocess.run([*watched, sys.executable, "-c", SESSION], env=env, cwd=temporary, check=True, timeout=300)
    assert "AF_INET" not in trace.read_text()
    assert [path for place in (home, temporary) for path in place.rglob("*") if path.is_file()] == []
