"""Laws of pruning to a target: importance by finite differences, targets that hold, and what comes after."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.pipelines import FAST, built, kept, reported
from torch import nn

from callbacks.prune.structured import Structured
from clinlm.compression.costs import Architecture, ParameterCosts
from clinlm.compression.importance import measure_importance
from clinlm.compression.reconstruction import regress
from clinlm.config.errors import ModelError
from clinlm.metrics.latency import Latency
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.artifact import Artifact
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.models.size import count_parameters
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import document_logits, predict
from clinlm.training.modules.teacher import Teacher
from clinlm.training.promises import CostTarget

pytestmark = pytest.mark.usefixtures("quick")


def bound(task: MultiLabel, model: Model, teacher_logits: torch.Tensor | None = None) -> Teacher:
    data = TaskData(task, model.tokenizer, 16, teacher_logits=teacher_logits)
    return Teacher(model, data, Full(), FAST, seed=3)


# Importance.


def losses(module: Teacher) -> torch.Tensor:
    """The loss of every calibration document, read alone."""
    module.network.eval()
    found = []
    with torch.no_grad():
        for batch in module.data.calibration(5, module.seed):
            for document in batch["index"].tolist():
                one = module.data.collate([document])
                found.append(module.objective(document_logits(module.network, one, module.task.long_notes), one))
    return torch.stack(found).double()


def moved(module: Teacher, watched: nn.Module, outputs: bool, change: Any, step: float = 1e-2) -> float:
    """Mean over documents of (dL/dgate)^2, by central differences; `change` is what the gate multiplies."""

    def gate(size: float) -> torch.Tensor:
        def fade(_: nn.Module, given: Any, said: Any = None) -> Any:
            tensor = said if outputs else given[0]
            new = tensor + size * change(tensor)
            return new if outputs else (new,)

        handle = watched.register_forward_hook(fade) if outputs else watched.register_forward_pre_hook(fade)
        found = losses(module)
        handle.remove()
        return found

    return float(((gate(step) - gate(-step)) / (2 * step)).square().mean())


def only(*columns: int) -> Any:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(tensor.shape[-1])
        mask[list(columns)] = 1
        return tensor * mask

    return change


def test_importance_is_what_finite_differences_say(task: MultiLabel, tiny_model: Model) -> None:
    with torch.no_grad():
        for parameter in tiny_model.network.parameters():  # so that every part says something
            parameter.mul_(3.0 if parameter.ndim == 2 else 1.0)
    module = bound(task, tiny_model)
    found = measure_importance(module, 5)
    network = tiny_model.network
    assert network.training and not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    layers, size = structure.layers(network.body), structure.layers(network.body)[0].head_size
    basis = found.basis
    direction = basis[:, 3]
    cases = [
        (found.heads[1][1], layers[1].attention_output, False, only(*range(size, 2 * size))),
        (found.heads[3][0], layers[3].attention_output, False, only(*range(size))),
        (found.units[2][7], layers[2].down, False, only(7)),
        (found.hidden[0, 4], structure.reading_places(network.body)[0].source, True, only(4)),
        (found.hidden[1, 5], layers[0].attention_norm, True, only(5)),
        (found.hidden[8, 6], layers[3].output_norm, True, only(6)),
        (
            found.words[3],
            structure.word_embeddings(network.body),
            True,
            lambda tensor: (tensor @ direction)[..., None] * direction,
        ),
    ]
    for value, watched, outputs, change in cases:
        assert float(value) == pytest.approx(moved(module, watched, outputs, change), rel=0.03, abs=1e-9)
    assert [len(one) for one in found.heads] == [2] * 4 and [len(one) for one in found.units] == [48] * 4
    assert found.hidden.shape == (9, 32) and all((one >= 0).all() for one in (*found.heads, *found.units, found.hidden))


# What makes up for what is cut.


def test_inputs_that_are_sums_of_others_are_not_missed() -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(200, 3, generator=generator)
    inputs = torch.cat([few, few @ torch.randn(3, 4, generator=generator)], 1).double()
    weight = torch.randn(5, 7, generator=generator).double()
    products = inputs.T @ inputs / len(inputs)
    new = regress(weight, products, [0, 1, 2])
    error = (inputs @ weight.T - inputs[:, :3] @ new.T).square().mean()
    assert error < 1e-4 * (inputs @ weight.T).square().mean()
    assert error < 1e-3 * (inputs[:, 3:] @ weight[:, 3:].T).square().mean(), "and without it was lost"
    torch.testing.assert_close(regress(weight, products, range(7)), weight)


# The target holds.


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, task: MultiLabel, _tiny_model: Model, quick: None
) -> dict[str, Artifact]:
    """One start, and what is left of it for several targets."""
    root = tmp_path_factory.mktemp("made")
    found = {"start": kept(copy.deepcopy(_tiny_model), root / "start")}
    for name, target in (("parameters", "parameters:50%"), ("bytes", "bytes:75%"), ("little", "parameters:9000")):
        method = Structured(target, documents=16)
        found[name] = built(root / name, task, found["start"], {"prune": method}, epochs=int(name == "bytes"))
    return found


def row(artifact: Artifact) -> CostTarget:
    found: CostTarget = reported(artifact, "prune")[0]
    return found


@pytest.mark.parametrize("name", ["parameters", "bytes", "little"])
def test_the_target_holds_and_is_used(made: dict[str, Artifact], name: str) -> None:
    told, artifact = row(made[name]), made[name]
    assert told.cost_after <= told.cost_goal < told.cost_before
    assert told.cost_after > 0.85 * told.cost_goal
    report = artifact.report
    assert json.loads(json.dumps(report["methods"]["prune"], allow_nan=False)) == report["methods"]["prune"]
    if told.target == "parameters":
        assert told.cost_predicted == told.cost_after == report["parameters"]
    else:
        assert report["bytes"] <= told.cost_after <= report["bytes"] + 700, "but for digits of thresholds"
        assert told.cost_predicted == pytest.approx(report["bytes"], rel=0.05)


@pytest.mark.parametrize("name", ["parameters", "bytes", "little"])
def test_the_report_is_the_architecture(made: dict[str, Artifact], name: str) -> None:
    network = made[name].load().network
    told, *layers = reported(made[name], "prune")
    found = Architecture.read(network)
    widths = [(one.heads_after, one.units_after) for one in layers]
    assert found == Architecture(told.hidden_after, told.embedding_rank, [w for w in widths if w != (0, 0)])
    assert len(layers) == told.layers_before == 4 and len(found.layers) == told.layers_after >= 1
    assert [one.heads_before for one in layers] == [2] * 4 and [one.units_before for one in layers] == [48] * 4


@pytest.mark.parametrize("name", ["parameters", "bytes", "little"])
def test_a_saved_model_answers_to_the_bit(task: MultiLabel, made: dict[str, Artifact], name: str) -> None:
    model = made[name].load()
    data = TaskData(task, model.tokenizer, model.max_tokens)
    found = predict(model.network, data.loader(task.examples.members("test")), task.long_notes)[1]
    np.testing.assert_array_equal(found, made[name].predictions("test"))
    assert np.isfinite(found).all()


class Machine:
    """A machine whose milliseconds are those of its own law, and that is told nothing of what the table makes of it."""

    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, models: Mapping[str, Model], *_: Any) -> dict[str, Latency]:
        found = {}
        for name, one in models.items():
            time = max(1, count_parameters(one.network) - 4000) ** self.power / 1000 + 0.2 * len(
                Architecture.read(one.network).layers
            )
            found[name] = Latency(time, time, time, time, 5, 1.0, 1.0, 1.0)
        return found


@pytest.mark.parametrize("power", [1.0, 1.1], ids=["as predicted", "otherwise"])
def test_a_latency_holds_as_it_is_measured(
    task: MultiLabel, tiny_model: Model, power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("meters", "probes"):
        monkeypatch.setattr(f"clinlm.compression.{place}.time_models", Machine(power))
    module = bound(task, tiny_model)
    state = torch.random.get_rng_state()
    method = Structured("latency_ms:60%", documents=16)
    method.prepare(module)
    assert torch.random.get_rng_state().equal(state), "probes draw no number that training would have drawn"
    (found,) = Machine(power)({"": module.model}).values()
    told = method.report().rows[0]
    assert found.p50_ms == told.cost_after <= told.cost_goal == pytest.approx(0.6 * told.cost_before)
    assert told.cost_after > 0.8 * told.cost_goal


def test_a_latency_is_measured_on_this_machine(
    task: MultiLabel, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it comes to is not asserted: a busy machine may refuse."""
    monkeypatch.setattr("clinlm.compression.meters.PASSES", 2)
    method = Structured("latency_ms:90%", documents=4)
    try:
        method.prepare(bound(task, tiny_model))
    except ValueError as refused:
        pytest.skip(f"this machine is too busy: {refused}")
    assert method.report().rows[0].cost_after <= method.report().rows[0].cost_goal


def test_probes_are_timed_by_the_engine_that_is_named(task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="engine must be one of"):
        Structured("latency_ms:50%", engine="steam")


# What is refused.


def test_a_target_that_is_met_is_refused(task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="prune.target must be below the cost of the network, .* parameters"):
        Structured("parameters:1e9").prepare(bound(task, tiny_model))


@pytest.mark.parametrize("target", ["parameters:10", "bytes:1000"])
def test_a_target_out_of_reach_says_what_can_be_had(task: MultiLabel, tiny_model: Model, target: str) -> None:
    before = copy.deepcopy(tiny_model.network.state_dict())
    with pytest.raises(ValueError, match="reachable: the smallest network .* costs about [0-9,.e+]+; raise the target"):
        Structured(target, documents=4).prepare(bound(task, tiny_model))
    assert all(before[name].equal(tensor) for name, tensor in tiny_model.network.state_dict().items())
    assert ParameterCosts(tiny_model.network).total(Architecture.read(tiny_model.network)) == count_parameters(
        tiny_model.network
    )


def test_integers_have_no_gradient(task: MultiLabel, tiny_model: Model) -> None:
    module = bound(task, tiny_model)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        Structured().prepare(module)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "milliseconds:3"}, "prune.target must be METRIC:NUMBER"),
        ({"documents": 0}, "prune.documents must be >= 1, got 0"),
        ({"remaining": 0}, "prune.remaining must be >= 1, got 0"),
    ],
)
def test_wrong_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Structured(**settings)


def test_the_objective_is_that_of_the_stage(task: MultiLabel, tiny_model: Model) -> None:
    """Logits of teachers are in the batches that importance reads, so a student is cut for what it is to learn."""
    logits = torch.zeros(len(task.examples.frame), task.outputs)
    module = bound(task, tiny_model, logits)
    seen: list[set[str]] = []
    own = module.objective

    def objective(logits: torch.Tensor, batch: Any) -> torch.Tensor:
        seen.append(set(batch))
        return 2 * own(logits, batch)

    once = measure_importance(module, 3)
    module.objective = objective
    twice = measure_importance(module, 3)
    assert seen and all("teacher_logits" in one for one in seen)
    parts: list[Sequence[torch.Tensor]] = [(a, b) for a, b in zip(once.units, twice.units, strict=True)]
    assert all(torch.allclose(4 * a, b, rtol=1e-4) for a, b in parts)
