"""Every adapter in every place: teacher, student and recovery, after pruning and before quantisation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning import Callback, LightningModule, Trainer
from support.pipelines import artifacts, composed, finished
from torch import nn

from clinlm.config.validation import CONF
from clinlm.models.model import Network
from clinlm.pipeline.plan import plan
from clinlm.pipeline.stage import Stage
from clinlm.training.modules.base import Module, predict

pytestmark = pytest.mark.usefixtures("quick")
STEMS = sorted(path.stem for path in CONF.glob("adapter/*.yaml"))
SMALL = {
    **dict.fromkeys(("lora", "rslora", "dora", "pissa"), ("adapter.r=2",)),
    "adalora": ("adapter.r=2", "adapter.start_r=3"),
    "vera": ("adapter.r=8",),
}
QUICK = [("dora", "unstructured"), ("adalora", "magnitude")]
"""Those of which peft changes most, and the two that need care: what a matrix is split into, and ranks that change."""
WHOLE = [(stem, prune) for stem in STEMS for prune in ("unstructured", "magnitude") if (stem, prune) not in QUICK]


class Watch(Callback):
    """Keeps what every network answers as it was trained, before its adapter is merged."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Module)
        loader = pl_module.data.loader(pl_module.task.examples.members("test"))
        self.answers.append(predict(pl_module.network, loader, pl_module.task.long_notes)[1])


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Add a `Watch` to every trainer, behind the callbacks of its stage."""
    watching, make = Watch(), Stage._trainer

    def watched(self: Stage, *given: Any) -> Trainer:
        trainer = make(self, *given)
        trainer.callbacks.append(watching)  # type: ignore[attr-defined]
        return trainer

    monkeypatch.setattr(Stage, "_trainer", watched)
    yield watching


def zeros(network: Network, prune: str) -> dict[str, list[int]]:
    """The places of zeros in linear layers; there are some if weights were pruned, and none if units were."""
    linears = {name: module for name, module in network.body.named_modules() if isinstance(module, nn.Linear)}
    found = {name: (linear.weight == 0).flatten().nonzero().flatten().tolist() for name, linear in linears.items()}
    assert any(found.values()) == (prune == "unstructured")
    return found


def check_everywhere(stem: str, prune: str, notes: Path, store: Path, watch: Watch) -> None:
    """Run teacher, pruning, recovery, distillation, pruning, recovery and quantisation with one adapter."""
    settings = (f"adapter={stem}", *SMALL.get(stem, ()), f"prune={prune}", "hidden_state_loss=minilm", "epochs=1")
    settings += ("module@recover_module=distill", "optimizer.learning_rate=1e-2", "recover.learning_rate=1e-2")
    made = artifacts(finished(composed(notes, store, "pipeline=c", "quantize=dynamic", *settings)))
    trained = ("teacher", "recover_teacher", "student", "recover_student")
    assert len(watch.answers) == len(trained) and len(made) == 7
    for name, answers in zip(trained, watch.answers, strict=True):
        report = made[name].report
        assert np.allclose(made[name].predictions("test"), answers, atol=1e-4), name
        assert (0 < report["trainable"] < report["parameters"]) != (stem == "full")
        parts = {part for tensor in made[name].load().network.state_dict() for part in tensor.split(".")}
        assert not [part for part in parts if part.startswith(("lora", "vera", "ia3", "parametriz", "base_layer"))]
    for role in ("teacher", "student"):
        before, after = (made[f"{stage}_{role}"].load().network for stage in ("prune", "recover"))
        assert zeros(before, prune) == zeros(after, prune)
        assert any(not tensor.equal(after.state_dict()[name]) for name, tensor in before.state_dict().items())
    whole, integer = made["recover_student"], made["quantize"]
    assert any(not parameter.is_floating_point() for parameter in integer.load().network.parameters())
    assert np.abs(whole.predictions("test") - integer.predictions("test")).mean() < 0.2


@pytest.mark.parametrize(("stem", "prune"), QUICK)
def test_it_runs_in_every_place(stem: str, prune: str, notes_csv: Path, tmp_path: Path, watch: Watch) -> None:
    check_everywhere(stem, prune, notes_csv, tmp_path / "store", watch)


@pytest.mark.integration
@pytest.mark.parametrize(("stem", "prune"), WHOLE)
def test_every_adapter_runs_in_every_place(
    stem: str, prune: str, notes_csv: Path, tmp_path: Path, watch: Watch
) -> None:
    check_everywhere(stem, prune, notes_csv, tmp_path / "store", watch)


def adapters(config: Any) -> dict[str, str]:
    """Stage -> the adapter that it trains with."""
    return {spec.name: spec.settings["adapter"]["_target_"].rpartition(".")[2] for spec in plan(config)}


def test_a_role_has_its_own(notes_csv: Path, tmp_path: Path) -> None:
    settings = ("pipeline=c", "adapter@teacher=dora", "adapter@student=bitfit", "teacher_adapter.r=3")
    found = adapters(composed(notes_csv, tmp_path / "store", *settings))
    assert found == {
        **dict.fromkeys(("teacher", "prune_teacher", "recover_teacher"), "Dora"),
        **dict.fromkeys(("student", "prune_student", "recover_student"), "Bitfit"),
    }
    mixed = adapters(composed(notes_csv, tmp_path / "store", "pipeline=a", "adapter=lora", "adapter@student=full"))
    assert mixed == {"teacher": "Lora", "student": "Full"}
    low_rank = composed(notes_csv, tmp_path / "store", "pipeline=low_rank", "student_adapter.r=3")
    assert adapters(low_rank) == {"teacher": "Full", "low_rank": "Lora"}
    assert low_rank.stages.low_rank.adapter.r == 3


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (("pipeline=quantization_qat", "adapter=vera"), "Qat needs adapter=full, bitfit or last_layers, .*adapter@stu"),
        (("pipeline=pruning_gradual", "adapter=pissa"), "Unstructured ranks weights while adapter=pissa keeps"),
        (("pipeline=baseline", "adapter=lora", "adapter.r=0"), "adapter.r must be >= 1"),
        (("pipeline=a", "adapter@student=last_layers", "student_adapter.layers=2"), "adapter.layers must be at most 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_trains(
    notes_csv: Path, tmp_path: Path, overrides: tuple[str, ...], why: str
) -> None:
    with pytest.raises(Exception, match=why):
        plan(composed(notes_csv, tmp_path / "store", *overrides))


def test_qat_and_gradual_pruning_work_with_the_rest(notes_csv: Path, tmp_path: Path) -> None:
    for overrides in (("pipeline=quantization_qat", "adapter=bitfit"), ("pipeline=pruning_gradual", "adapter=lora")):
        assert plan(composed(notes_csv, tmp_path / "store", *overrides))
