"""Laws of quantisation-aware training: what is simulated is what comes out, ranges freeze, zeros stay, it resumes."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from support.pipelines import FAST, Killed, built, factory, kept, kill_after
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.checkpoint import Checkpoint
from callbacks.keep_best import KeepBest
from callbacks.prune.random import Random
from callbacks.quantize.qat import Qat
from callbacks.quantize.static import Static
from clinlm.compression.simulation import FakeQuantizeInputs, attach, detach, fake_quantize_rows
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.adapters.lora import Lora
from clinlm.models.artifact import Artifact
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Model
from clinlm.models.surgery import replace_module
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import predict
from clinlm.training.modules.student import Student
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


class Watch(Callback):
    """Notes, after every step, how far training is, and the state of every layer's inputs."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, list[tuple[float, float, bool]]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        levels = [m for m in pl_module.network.modules() if isinstance(m, FakeQuantizeInputs)]
        progress = trainer.global_step / trainer.estimated_stepping_batches
        self.seen.append((progress, [(float(m.low), float(m.high), bool(m.frozen)) for m in levels]))


def loss(artifact: Artifact, task: MultiLabel, split: str = "validation") -> float:
    targets = task.examples.targets[task.examples.members(split)]
    return float(task.loss(torch.from_numpy(artifact.predictions(split)), torch.from_numpy(targets).float()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("span", [(-3.0, 3.0), (0.0, 2.0)])
def test_a_simulated_layer_is_the_one_of_integers(bias: bool, span: tuple[float, float]) -> None:
    """To the order of summing; an input that lies between two levels, to the last bit, may go to either."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 30, bias=bias)).eval()
    inputs = torch.randn(500, 40)
    attach(network, {"0": network[0]}, {"0": span})
    network._forward_pre_hooks.clear()  # no mask comes with these inputs
    simulated = network(inputs)
    plain = copy.deepcopy(network)
    levels = detach({"0": plain[0]}, [])
    plain[0]._forward_pre_hooks.clear()
    real = StaticInt8Linear.calibrated(plain[0], *levels["0"])(inputs)
    off = (simulated - real).abs().amax(1)
    assert (off < 1e-5).double().mean() > 0.99
    assert off.max() <= levels["0"][0] * float(plain[0].weight.detach().abs().max()) + 1e-5


def test_a_simulated_network_answers_like_the_one_of_integers(task: MultiLabel, tiny_model: Model) -> None:
    network = tiny_model.network.eval()
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Embedding)}
    spans = {name: (-4.0, 4.0) for name, layer in layers.items() if isinstance(layer, nn.Linear)}
    data = TaskData(task, tiny_model.tokenizer, tiny_model.max_tokens)
    loader = data.loader(task.examples.members("test"))
    plain = predict(network, loader, task.long_notes)[1]
    handles = attach(network, layers, spans)
    simulated = predict(network, loader, task.long_notes)[1]
    levels = detach(layers, handles)
    np.testing.assert_array_equal(predict(network, loader, task.long_notes)[1], plain)
    for name, layer in layers.items():
        made = (
            StaticInt8Linear.calibrated(layer, *levels[name])
            if isinstance(layer, nn.Linear)
            else Int8Embedding.from_float(layer)
        )
        replace_module(network, name, made)
    real = predict(network, loader, task.long_notes)[1]
    assert np.median(np.abs(simulated - real)) < 1e-5 < np.median(np.abs(plain - real))


def test_gradients_pass_straight_through() -> None:
    rows = torch.tensor([[0.3, -1.0, 0.7]], requires_grad=True)
    out = fake_quantize_rows(rows, 63)
    out.backward(torch.tensor([[1.0, 2.0, 3.0]]))
    assert rows.grad is not None and rows.grad.tolist() == [[1.0, 2.0, 3.0]]
    assert out.tolist() == [pytest.approx([19 / 63, -1.0, 44 / 63])]
    inputs = torch.tensor([[-3.0, 0.5, 9.0]], requires_grad=True)
    FakeQuantizeInputs(-1.0, 2.0).eval()(inputs).sum().backward()
    assert inputs.grad is not None and inputs.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_ranges_follow_the_tokens_until_they_are_frozen() -> None:
    levels = FakeQuantizeInputs(-1.0, 1.0)
    levels.mask = torch.tensor([[True, False]])
    inputs = torch.tensor([[[3.0, -3.0], [50.0, -50.0]]])
    levels(inputs)
    assert [float(levels.low), float(levels.high)] == pytest.approx([-1.02, 1.02])
    levels.frozen.fill_(True)
    levels(inputs)
    levels.eval()(inputs)
    assert [float(levels.low), float(levels.high)] == pytest.approx([-1.02, 1.02])
    assert set(levels.state_dict()) == {"low", "high", "frozen"}


def test_ranges_freeze_at_three_fifths(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    watch, start = Watch(), kept(tiny_model, tmp_path / "start")
    built(tmp_path / "made", task, start, {"quantize": Qat(2, 1e-3), "watch": watch})
    assert [round(10 * progress) for progress, _ in watch.seen] == list(range(1, 11))
    for (_, one), (progress, other) in zip(watch.seen, watch.seen[1:], strict=False):
        assert all(frozen == (progress >= 0.6) for *_, frozen in other)
        before = one[0][2]
        assert all((a[:2] == b[:2]) == before for a, b in zip(one, other, strict=True))


def test_it_brings_its_own_epochs_and_rates(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    rates: list[Any] = []

    class Watched(Teacher):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            rates.append((self.optimizer.learning_rate, self.optimizer.head_learning_rate))
            return super().configure_optimizers()

    start, module = kept(tiny_model, tmp_path / "start"), factory(Watched, adapter=Full(), optimizer=FAST)
    made = built(tmp_path / "made", task, start, {"quantize": Qat(2, 3e-4, 4e-4)}, module=module)
    assert made.report["epochs"] == 2 and rates == [(3e-4, 4e-4)]
    assert built(tmp_path / "stage", task, start, {"quantize": Qat(2)}, epochs=1).report["epochs"] == 1


def test_nothing_of_the_simulation_is_left(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    callbacks = {"quantize": Qat(2, 1e-3), "keep_best": KeepBest()}
    network = built(tmp_path / "made", task, start, callbacks).load().network
    static = built(tmp_path / "static", task, start, {"quantize": Static()}).load().network
    assert network.state_dict().keys() == static.state_dict().keys()
    assert not any(parametrize.is_parametrized(module) for module in network.modules())


def test_it_learns_what_rounding_alone_loses(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    """Two units of every FFN are large and cancel each other: rounding afterwards leaves the others no levels."""
    trained = built(tmp_path / "trained", task, kept(tiny_model, tmp_path / "start"), {}, epochs=2).load()
    with torch.no_grad():
        for layer in structure.layers(trained.network.body):
            layer.up.weight[:2], layer.up.bias[:2] = 0, 100
            layer.down.weight[:, 0], layer.down.weight[:, 1] = 10, -10
    start = kept(trained, tmp_path / "planted")
    static = built(tmp_path / "static", task, start, {"quantize": Static()})
    made = built(tmp_path / "made", task, start, {"quantize": Qat(3, 2e-3)})
    assert loss(made, task) < loss(static, task)


def test_pruned_zeros_stay_zero(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    zeros: dict[str, Tensor] = {}
    with torch.no_grad():
        for layer in structure.layers(tiny_model.network.body):
            layer.up.weight[:, ::3] = 0
            layer.query.weight[4] = 0
    for name, module in tiny_model.network.named_modules():
        if isinstance(module, nn.Linear) and (module.weight == 0).any():
            zeros[name] = module.weight == 0
    start = kept(tiny_model, tmp_path / "start")
    made = built(tmp_path / "made", task, start, {"quantize": Qat(2, 1e-2)}).load()
    assert len(zeros) == 8
    for name, places in zeros.items():
        weight = made.network.get_submodule(name).weight
        assert isinstance(weight, Tensor) and (weight[places] == 0).all() and (weight[~places] != 0).any()


def test_a_killed_run_ends_as_a_whole_one(
    tmp_path: Path, task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after ranges froze, with the best epoch kept: ranges and their freezing are in the state."""
    start = kept(tiny_model, tmp_path / "start")

    def callbacks() -> dict[str, Callback]:
        return {"quantize": Qat(3, 1e-3), "keep_best": KeepBest(), "checkpoint": Checkpoint()}

    whole = built(tmp_path / "whole", task, start, callbacks())
    for steps in (7, 8):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after(patch, steps)
            built(tmp_path / "killed", task, start, callbacks())
    assert (tmp_path / "killed" / "last.ckpt").exists()
    killed = built(tmp_path / "killed", task, start, callbacks())
    state = whole.load().network.state_dict()
    assert all(tensor.equal(state[name]) for name, tensor in killed.load().network.state_dict().items())
    assert killed.report["methods"] == whole.report["methods"]


def test_distilling_needs_a_teacher_and_follows_it(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    with torch.no_grad():
        tiny_model.network.head.weight.mul_(20)
    teacher = kept(tiny_model, tmp_path / "teacher")
    teacher_says = built(tmp_path / "told", task, teacher, {}).predictions("test")
    imitate = factory(Student, adapter=Full(), optimizer=FAST, distill=Distillation(alpha=1.0, form="sigmoid"))
    made = built(tmp_path / "made", task, start, {"quantize": Qat(4, 5e-3)}, [teacher], imitate)
    before = built(tmp_path / "before", task, start, {}).predictions("test")
    assert np.abs(made.predictions("test") - teacher_says).mean() < 0.8 * np.abs(before - teacher_says).mean()
    with pytest.raises(ValueError, match="distillation needs a teacher, got a stage without one"):
        built(tmp_path / "alone", task, start, {"quantize": Qat(4, 5e-3)}, module=imitate)


def test_what_would_learn_unrounded_is_refused(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    module = factory(Teacher, adapter=Lora(r=2, alpha=4, dropout=0.0), optimizer=FAST)
    with pytest.raises(ValueError, match="needs adapter=full, bitfit or last_layers, .* adapter=lora wraps"):
        built(tmp_path / "lora", task, start, {"quantize": Qat()}, module=module)


def test_units_pruned_in_the_same_stage_are_gone(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    made = built(tmp_path / "made", task, start, {"prune": Random(0.25), "quantize": Qat(1)}).load()
    widths = [made.network.get_submodule(f"body.encoder.layer.{n}.output.dense").in_features for n in range(4)]
    assert widths == [36] * 4
