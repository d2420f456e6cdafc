"""Training in two processes: the results of one process on the same batches, and its checkpoints."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.pipelines import Killed, composed, finished, kill_after
from torch import distributed

from clinlm.config.errors import TrainingError
from clinlm.pipeline.results import StageResult
from clinlm.training.modules.base import Module

pytestmark = [pytest.mark.usefixtures("quick"), pytest.mark.integration]
EXACT = (
    *("batch_size=7", "epochs=3", "precision=64-true", "quantize=none", "teacher.dropout=0"),
    *("+teacher.config.hidden_dropout_prob=0", "+teacher.config.attention_probs_dropout_prob=0"),
)
"""36 documents in batches of 7: parts of different sizes, and one document in the last batch, of which a rank has none.
Every rank draws its own dropout, so there is none. AdamW makes a step of any gradient, also of one that is rounding."""
C = ("pipeline=c", "module@recover_module=distill", *EXACT)
BASELINE = ("pipeline=baseline", *EXACT)
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


@pytest.fixture(scope="module")
def one(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> list[StageResult]:
    """The pipeline in one process."""
    return finished(composed(notes_csv, tmp_path_factory.mktemp("one") / "store", *C))


def contents(done: StageResult) -> dict[str, np.ndarray]:
    """Everything that a stage computes: weights, predictions, the quality of the best epoch and the thresholds."""
    folder = done.artifact.folder
    files = [path for path in sorted(folder.glob("*.safetensors"))]
    found = {f"{path.name}/{name}": value for path in files for name, value in load_file(path).items()}
    found["report"] = np.array([*numbers(done.artifact.report["methods"])])
    return found


def numbers(node: Any) -> Any:
    """Yield all numbers in JSON."""
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from numbers(value)
    elif isinstance(node, int | float):
        yield node


def assert_alike(done: list[StageResult], expected: list[StageResult], tolerance: float = 1e-5) -> None:
    """Check that stages have the same keys, shapes and integers, and numbers that differ by rounding only.

    What is stored is float32, and later stages go on from it: where sums differ in the last digit of float64, which
    depends on the processor, it may round to a neighbour.
    """
    assert [(one.name, one.artifact.key) for one in done] == [(one.name, one.artifact.key) for one in expected]
    for ours, theirs in zip(done, expected, strict=True):
        found, wanted = contents(ours), contents(theirs)
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            least = 1 if value.dtype == np.int8 else tolerance
            np.testing.assert_allclose(value, wanted[name], atol=least, rtol=tolerance, err_msg=f"{ours.name} {name}")


def test_two_processes_compute_what_one_does(one: list[StageResult], notes_csv: Path, tmp_path: Path) -> None:
    variables = dict(os.environ)
    done = finished(composed(notes_csv, tmp_path / "store", *C, *TWO))
    assert_alike(done, one)
    assert not distributed.is_initialized() and variables == dict(os.environ)
    assert not [path for path in (tmp_path / "store").glob("*/.*")]


def test_ranges_of_quantisation_are_those_of_all_processes(notes_csv: Path, tmp_path: Path) -> None:
    """In float32, which INT8 needs: rounding may move a weight to the next level."""
    settings = (
        "pipeline=quantization_qat",
        *EXACT,
        "precision=32-true",
        "quantize=qat",
        "epochs=1",
        "quantize.epochs=1",
    )
    one = finished(composed(notes_csv, tmp_path / "one" / "store", *settings))
    two = finished(composed(notes_csv, tmp_path / "two" / "store", *settings, *TWO))
    assert_alike(two, one, 3e-3)


def test_where_a_process_is_killed_the_run_ends_and_says_so(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, step = list[int](), Module.training_step
    popen = subprocess.Popen.__init__

    def noted(self: Any, *given: Any, **settings: Any) -> None:
        popen(self, *given, **settings)
        started.append(self.pid)

    def killing(self: Module, *given: Any) -> Any:
        if self.trainer.global_step == 3 and started:
            os.kill(started.pop(), signal.SIGKILL)
        return step(self, *given)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    monkeypatch.setattr(Module, "training_step", killing)
    with pytest.raises(TrainingError, match="stage teacher: rank 1 .* was killed by SIGKILL"):
        finished(composed(notes_csv, tmp_path / "store", "pipeline=baseline", *TWO))
    assert not distributed.is_initialized()


@pytest.mark.parametrize("first", [(), TWO], ids=["one_then_two", "two_then_one"])
def test_a_killed_run_goes_on_with_another_number_of_processes(
    one: list[StageResult],
    notes_csv: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, ...],
) -> None:
    """It is killed in the third epoch of the teacher."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 14)
        finished(composed(notes_csv, tmp_path / "store", *BASELINE, *first))
    (checkpoint,) = (tmp_path / "store").glob("teacher-*/last.ckpt")
    second = () if first else TWO
    done = finished(composed(notes_csv, tmp_path / "store", *BASELINE, *second))
    assert done[0].artifact.report["attempts"] == 2
    assert_alike(done, one[:1])
