"""Laws of training to the best epoch: it comes back, it stops in time, and checkpoints are whole."""

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping
from support.pipelines import built, kept, reported
from torch import Tensor

from callbacks import checkpoint
from callbacks.checkpoint import Checkpoint
from callbacks.keep_best import KeepBest
from clinlm.models.artifact import Artifact
from clinlm.models.model import Model
from clinlm.store.checkpoint import put_checkpoint
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.promises import BestEpoch

pytestmark = pytest.mark.usefixtures("quick")
NAN = float("nan")


class Watch(Callback):
    """Remember the weights of every epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(copy.deepcopy(pl_module.model.network.state_dict()))


def run(
    tmp_path: Path,
    task: MultiLabel,
    model: Model,
    values: Sequence[float],
    patch: pytest.MonkeyPatch,
    epochs: int | None = None,
    **callbacks: Callback,
) -> tuple[Artifact, list[dict[str, Tensor]]]:
    """Train for as many epochs as there are `values` of the metric on validation."""
    told = iter(values)
    patch.setitem(vars(task), "validation_metrics", lambda logits: {"macro_f1": next(told)})
    watch, number = Watch(), len(values) if epochs is None else epochs
    start = kept(model, tmp_path / "start")
    return built(tmp_path / "built", task, start, {"watch": watch, **callbacks}, epochs=number), watch.weights


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([0.3, 0.1, 0.2], "max", 0),
        ([0.1, 0.3, 0.2], "max", 1),
        ([0.1, 0.2, 0.3], "max", 2),
        ([0.3, 0.1, 0.1], "min", 1),
        ([0.2, 0.2, 0.2], "max", 0),
        ([NAN, 0.1, 0.2], "max", 2),
        ([0.2, NAN, 0.1], "max", 0),
    ],
)
def test_the_best_epoch_is_kept(values: list[float], mode: Any, best: int) -> None:
    """Hooks called as Lightning calls them, on a network whose weight is the number of the epoch."""
    keep, network = KeepBest(mode=mode), torch.nn.Linear(1, 1)
    module: Any = network
    for epoch, value in enumerate(values):
        network.load_state_dict({"weight": torch.full((1, 1), float(epoch)), "bias": torch.full((1,), 0.5)})
        trainer: Any = SimpleNamespace(
            sanity_checking=False, current_epoch=epoch, callback_metrics={"val/macro_f1": torch.tensor(value).double()}
        )
        keep.on_validation_end(trainer, module)
    keep.on_train_end(trainer, module)
    assert network.weight.item() == best and network.bias.item() == 0.5
    assert keep.report().rows == (BestEpoch(best, "val/macro_f1", pytest.approx(values[best])),)


def test_the_best_epoch_comes_back(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, weights = run(tmp_path, task, tiny_model, [0.1, 0.3, 0.2], monkeypatch, keep=KeepBest())
    state = artifact.load().network.state_dict()
    assert len(weights) == 3
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in state.items())
    assert any(not torch.equal(tensor, weights[0][name]) for name, tensor in state.items())
    (told,) = reported(artifact, "keep")
    assert told == BestEpoch(1, "val/macro_f1", pytest.approx(0.3))


def test_a_metric_that_is_never_logged_is_an_error(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"got 'val/f1'; set it to one of \['val/loss', 'val/macro_f1'\]"):
        run(tmp_path, task, tiny_model, [0.1], monkeypatch, keep=KeepBest("val/f1"))


def test_without_training_there_is_no_best_epoch(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, _ = run(tmp_path, task, tiny_model, [], monkeypatch, keep=KeepBest(), checkpoint=Checkpoint())
    assert reported(artifact, "keep") == (BestEpoch(-1, "val/macro_f1", None),)
    assert artifact.report["epochs"] == 0


def test_training_stops_when_nothing_is_gained(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = EarlyStopping("val/macro_f1", mode="max", patience=2)
    values = [0.2, 0.3, 0.1, 0.1]
    artifact, weights = run(tmp_path, task, tiny_model, values, monkeypatch, 9, stop=stop, keep=KeepBest())
    assert len(weights) == 4 == artifact.report["epochs"]
    assert reported(artifact, "keep")[0].epoch == 1


class Counted(Callback):
    """Count the checkpoints, and see that no draft is left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, list[tuple[int, bool]]()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append((trainer.current_epoch, (self.folder / "last.ckpt").exists()))
        assert not list(self.folder.glob(".*"))


@pytest.mark.parametrize(("free", "share", "written"), [(0.0, 1e-9, 1), (0.0, 1e9, 3), (1e9, 1e-9, 3)])
def test_writing_waits_where_it_takes_long(
    tmp_path: Path,
    task: MultiLabel,
    tiny_model: Model,
    monkeypatch: pytest.MonkeyPatch,
    free: float,
    share: float,
    written: int,
) -> None:
    drafts: list[Path] = []

    def put(draft: Path) -> None:
        drafts.append(draft)
        put_checkpoint(draft)

    monkeypatch.setattr(checkpoint, "put_checkpoint", put)
    monkeypatch.setattr(checkpoint, "FREE_S", free)
    monkeypatch.setattr(checkpoint, "SHARE", share)
    run(tmp_path, task, tiny_model, [0.1] * 4, monkeypatch, checkpoint=Checkpoint())
    assert len(drafts) == written


def test_checkpoints_follow_every_epoch_and_go_with_the_last(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(tmp_path / "built")
    artifact, _ = run(tmp_path, task, tiny_model, [0.1] * 3, monkeypatch, count=counted, checkpoint=Checkpoint())
    assert counted.seen == [(0, False), (1, True), (2, True)]
    files = {str(path.relative_to(artifact.folder)) for path in artifact.folder.rglob("*") if path.is_file()}
    assert files == {
        "edits.json",
        "model.safetensors",
        "predictions.safetensors",
        "record.json",
        "report.json",
        "serving.json",
        "spec.json",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer_config.json",
    }
