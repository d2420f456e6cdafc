"""A stage that is killed, at whatever moment, goes on to the same bytes as one that is not."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.pipelines import (
    TRAINING_STEP,
    Killed,
    artifacts,
    composed,
    finished,
    kill_after,
    killed_until_done,
    reported,
    weights,
)

from clinlm.config.runtime import Stopwatch
from clinlm.models import artifact
from clinlm.pipeline.results import StageResult
from clinlm.pipeline.stage import Stage
from clinlm.store.content import sealed
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import Module

pytestmark = pytest.mark.usefixtures("quick")
C = ("pipeline=c", "module@recover_module=distill", "adapter=adalora", "adapter.r=2", "adapter.start_r=3")
"""Everything that has a state: the ranks of AdaLoRA, dropout, a teacher's logits, recovery with its own objective."""


def told(done: list[StageResult]) -> dict[str, Any]:
    """What the reports say, without what is measured of the machine, and attempts."""
    measured = ("seconds", "measuring_seconds", "attempts", "training_peak_mib")
    return {one.name: {k: v for k, v in one.artifact.report.items() if k not in measured} for one in done}


@pytest.fixture(scope="module")
def whole(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Iterator[list[StageResult]]:
    """A pipeline that nothing interrupted."""
    yield finished(composed(notes_csv, tmp_path_factory.mktemp("whole") / "store", *C))


def test_killed_in_the_middle_of_epochs(
    whole: list[StageResult], notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 5 steps, so that every attempt gets through one epoch and part of the next.

    Every attempt counts as training (an hour here: clocks begin with one), and measuring does not.
    """
    begin = Stopwatch.__init__

    def early(self: Stopwatch) -> None:
        begin(self)
        self._began -= 3600

    monkeypatch.setattr(Stopwatch, "__init__", early)
    config = composed(notes_csv, tmp_path / "store", *C)
    kills, done = killed_until_done(lambda: finished(config), monkeypatch, 7)
    assert kills >= 4
    assert max(one.artifact.report["attempts"] for one in done) > 1
    for one in done:
        assert one.artifact.report["seconds"] // 3600 == one.artifact.report["attempts"]
        assert one.artifact.report["measuring_seconds"] // 3600 == 1
    assert weights(done) == weights(whole)
    assert told(done) == told(whole)


def ended_by_sigterm(run: Callable[[], Any], patch: pytest.MonkeyPatch, steps: int) -> tuple[int, int, Any]:
    """Call `run`, which gets SIGTERM in every `steps`-th training step, until it ends.

    Returns:
        how often it was ended, how many steps it trained in all, and what it returned.
    """
    step, trained = TRAINING_STEP, list[None]()

    def interrupted(self: Module, *given: Any) -> Any:
        trained.append(None)
        if len(trained) % steps == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *given)

    patch.setattr(Module, "training_step", interrupted)
    for ended in range(100):
        try:
            done = run()
            return ended, len(trained), done
        except KeyboardInterrupt:
            continue
    raise AssertionError("it never ended")


@pytest.mark.integration
def test_sigterm_in_the_middle_of_epochs(
    whole: list[StageResult], notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 5 steps; no attempt gets through one, so that each goes on within the epoch of the one before."""
    config = composed(notes_csv, tmp_path / "store", *C)
    ends, _, done = ended_by_sigterm(lambda: finished(config), monkeypatch, 4)
    assert ends >= 6
    assert weights(done) == weights(whole) and told(done) == told(whole)


@pytest.mark.integration
def test_sigterm_repeats_no_step_and_loses_no_gradient(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches make a step of the optimizer: the first two wait for the third in the checkpoint."""
    settings = (*BASELINE, "accumulate=3", "~training.keep_best", "~training.early_stopping")
    whole = finished(composed(notes_csv, tmp_path / "whole" / "store", *settings))
    config = composed(notes_csv, tmp_path / "ended" / "store", *settings)
    ends, trained, done = ended_by_sigterm(lambda: finished(config), monkeypatch, 7)
    assert ends == 2 and trained == 15, "3 epochs of 5 batches; ended in the second batch of the second, and the fourth"
    assert weights(done) == weights(whole) and told(done) == told(whole)


def test_killed_between_training_and_the_record(
    whole: list[StageResult], notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch is put back and training is not begun again, although nobody recorded that it was over."""
    config, killed = composed(notes_csv, tmp_path / "store", *C), set[Path]()
    save = artifact.save_predictions

    def dying(folder: Path, *given: Any) -> None:
        if folder not in killed:
            killed.add(folder)
            raise Killed
        save(folder, *given)

    monkeypatch.setattr(artifact, "save_predictions", dying)
    for _ in range(len(whole)):
        with pytest.raises(Killed):
            finished(config)
    done = finished(config)
    assert len(killed) == 6 and weights(done) == weights(whole) and told(done) == told(whole)


def test_killed_after_it_was_to_stop_early(notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs after the one at which an unbroken run stops are not trained, even where they would be better."""
    values, calls = [0.3, 0.2, 0.1, 0.9, 0.9, 0.9], list[None]()

    def scripted(self: MultiLabel, logits: Any) -> dict[str, float]:
        calls.append(None)
        return {"macro_f1": values[len(calls) - 1]}

    def dying(self: Stage, *given: Any) -> Any:
        raise Killed

    monkeypatch.setattr(MultiLabel, "validation_metrics", scripted)
    settings = ("pipeline=baseline", "epochs=6", "patience=2")
    whole = finished(composed(notes_csv, tmp_path / "whole" / "store", *settings))
    calls.clear()
    config = composed(notes_csv, tmp_path / "killed" / "store", *settings)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Stage, "_finish", dying)
        finished(config)
    assert len(calls) == 3
    calls.pop()  # the last epoch is repeated
    done = finished(config)
    assert len(calls) == 3 == told(done)["teacher"]["epochs"]
    assert reported(artifacts(done)["teacher"], "keep_best")[0].epoch == 0
    assert told(done) == told(whole) and weights(done) == weights(whole)


def test_the_last_epoch_of_a_resumed_stage_is_that_of_a_whole_one(
    notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the best epoch is put back, an early one may hide that a later one differs: here the last is kept."""
    settings = ("pipeline=baseline", "epochs=4", "~training.keep_best", "~training.early_stopping")
    whole = finished(composed(notes_csv, tmp_path / "whole" / "store", *settings))
    config = composed(notes_csv, tmp_path / "killed" / "store", *settings)
    kills, done = killed_until_done(lambda: finished(config), monkeypatch, 7)
    assert kills >= 3
    assert weights(done) == weights(whole)


def test_killed_while_features_are_imitated(notes_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projections, the head that guesses tokens and the masks it guesses from: all go on as in an unbroken run."""
    sizes = ("student.hidden_size=16", "student.heads=2", "student.intermediate_size=24")
    settings = ("pipeline=general", "hidden_state_loss=tinybert", "model@student=tinybert", *sizes, "general_epochs=3")
    last = ("~training.keep_best", "~training.early_stopping", "~stages.general.callbacks.keep_best")
    whole = finished(composed(notes_csv, tmp_path / "whole" / "store", *settings, *last))
    config = composed(notes_csv, tmp_path / "killed" / "store", *settings, *last)
    kills, done = killed_until_done(lambda: finished(config), monkeypatch, 7)
    assert kills >= 5
    assert weights(done) == weights(whole) and told(done) == told(whole)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = ["tests"]
import clinlm.pipeline.stage
from callbacks.checkpoint import Checkpoint
from support.pipelines import composed, finished

written = Checkpoint.on_train_epoch_end
def dying(self, trainer, module):
    written(self, trainer, module)
    if trainer.current_epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.on_train_epoch_end = dying
finished(composed(Path(sys.argv[1]), Path(sys.argv[2]), "pipeline=baseline", "epochs=3"))
"""


BASELINE = ("pipeline=baseline", "epochs=3")


@pytest.fixture(scope="module")
def teacher(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> list[StageResult]:
    """A teacher alone, that nothing interrupted."""
    return finished(composed(notes_csv, tmp_path_factory.mktemp("teacher") / "store", *BASELINE))


@pytest.mark.integration
def test_another_process_is_killed_and_this_one_goes_on(
    teacher: list[StageResult], notes_csv: Path, tmp_path: Path
) -> None:
    """The key is the same in both processes, whatever the seeds of their hash tables."""
    root = tmp_path / "killed" / "store"
    dead = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(notes_csv), str(root)],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    folder = root / teacher[0].artifact.folder.name
    assert (folder / "last.ckpt").exists() and not sealed(folder)
    done = finished(composed(notes_csv, root, *BASELINE))
    assert artifacts(done)["teacher"].folder == folder and not (folder / "last.ckpt").exists()
    assert weights(done) == weights(teacher) and told(done) == told(teacher)


@pytest.fixture(scope="module")
def broken(notes_csv: Path, tmp_path_factory: pytest.TempPathFactory, quick: None) -> Path:
    """A store in which a teacher was killed in its second epoch."""
    root = tmp_path_factory.mktemp("broken") / "store"
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 9)
        with pytest.raises(Killed):
            finished(composed(notes_csv, root, *BASELINE))
    return root


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 100 + b[100:]])
def test_a_damaged_checkpoint_is_no_dead_end(
    teacher: list[StageResult],
    broken: Path,
    notes_csv: Path,
    tmp_path: Path,
    damage: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stage begins anew, and ends as one that nothing disturbed."""
    root = tmp_path / "store"
    shutil.copytree(broken, root)
    (checkpoint,) = root.glob("*/last.ckpt")
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    assert weights(finished(composed(notes_csv, root, *BASELINE))) == weights(teacher)
    assert "last.ckpt is damaged" in caplog.text
