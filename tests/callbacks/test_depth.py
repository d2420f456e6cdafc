"""Laws of removing whole layers: influence by a slow way, the layers that stay, and that no others come."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import PARAMETERS, network, rows
from support.pipelines import FAST, built, kept, reported
from torch import Tensor, nn

from callbacks.prune.depth import Depth
from callbacks.recover.finetune import Finetune
from clinlm.compression.observation import record_inputs, record_outputs
from clinlm.compression.scores import block_influences, influence_sum
from clinlm.compression.selection import keep_best
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model
from clinlm.models.surgery import keep_layers
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Windows
from clinlm.training.modules.base import predict
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")


def layers(model: Model) -> int:
    return len(structure.layers(model.network.body))


def test_influence_by_hand() -> None:
    """The same direction, a right angle, the opposite."""
    inputs = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    outputs = torch.tensor([[6.0, 8.0], [0.0, 5.0], [0.0, -1.0]])
    assert [float(influence_sum(inputs[i : i + 1], outputs[i : i + 1])) for i in range(3)] == pytest.approx([0, 1, 2])
    assert float(influence_sum(inputs, outputs)) == pytest.approx(3)


@pytest.mark.parametrize("long_notes", [None, Windows(most=3)], ids=["head", "windows"])
def test_influence_is_that_of_a_slow_loop(
    task: MultiLabel, tiny_model: Model, long_notes: Windows | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row, so that there is no padding; hidden states as transformers gives them out; token by token."""
    if long_notes is not None:
        monkeypatch.setitem(vars(task), "long_notes", long_notes)
    data = TaskData(task, tiny_model.tokenizer, 16)
    found = block_influences(Teacher(tiny_model, data, Full(), FAST, seed=3), documents=9)
    assert tiny_model.network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny_model.network.modules())
    batches = data.calibration(9, seed=3)
    assert any((batch["attention_mask"] == 0).any() for batch in batches)
    tiny_model.network.eval()
    cosines: list[list[float]] = [[] for _ in range(4)]
    for document in (number for batch in batches for number in batch["index"].tolist()):
        for row in data.encoded.rows(document):
            ids = torch.from_numpy(row.astype(np.int64))[None]
            with torch.no_grad():
                states = tiny_model.network.body(input_ids=ids, output_hidden_states=True).hidden_states
            for layer in range(4):
                for x, y in zip(states[layer][0].double().numpy(), states[layer + 1][0].double().numpy(), strict=True):
                    cosines[layer].append(x @ y / np.sqrt((x @ x) * (y @ y)))
    np.testing.assert_allclose(found.numpy(), [1 - np.mean(ours) for ours in cosines], rtol=1e-4)


@pytest.mark.parametrize("family", PARAMETERS)
def test_what_is_compared_is_what_enters_and_leaves_a_layer(family: str) -> None:
    model = network(family)
    seen: list[tuple[Tensor, Tensor]] = []

    def whole(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        seen.append((inputs[0], output if isinstance(output, Tensor) else output[0]))

    inside: list[Tensor] = []
    before = structure.reads_before(model.body)  # then no part of a layer has its input or output
    for layer, parts in zip(structure.stack(model.body)[1], structure.layers(model.body), strict=True):
        layer.register_forward_hook(whole)
        first, last = (parts.module, parts.module) if before else (parts.value, parts.output_norm)
        record_inputs([first], inside)
        record_outputs([last], inside)
    model(*rows(family))
    assert all(mine.equal(theirs) for mine, theirs in zip(inside, (t for pair in seen for t in pair), strict=True))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_the_most_influential_stay(values: list[int], ratio: float) -> None:
    stay = keep_best(torch.tensor(values, dtype=torch.float), ratio)
    ranked = sorted(range(len(values)), key=lambda layer: (-values[layer], layer))
    assert stay == sorted(ranked[: max(1, len(values) - round(ratio * len(values)))])


@pytest.mark.parametrize(("ratio", "left"), [(0.25, 3), (0.5, 2), (0.99, 1)])
def test_the_layers_with_least_influence_go(task: MultiLabel, tiny_model: Model, ratio: float, left: int) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    shorter = copy.deepcopy(tiny_model)
    method = Depth(ratio, documents=9)
    method.prepare(Teacher(tiny_model, data, Full(), FAST))
    told = method.report().rows
    stay = [row.layer for row in told if row.kept]
    assert layers(tiny_model) == left == len(stay) and [row.layer for row in told] == [0, 1, 2, 3]
    worst = min(row.block_influence for row in told if row.kept)
    assert all(row.block_influence <= worst for row in told if not row.kept)
    keep_layers(shorter.network, stay)
    loader = data.loader(task.examples.members("test"))
    ours, theirs = (predict(one.network, loader, task.long_notes)[1] for one in (tiny_model, shorter))
    np.testing.assert_array_equal(ours, theirs)


def test_depth_holds_in_training_and_in_recovery(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    start = kept(tiny_model, tmp_path / "start")
    pruned = built(tmp_path / "pruned", task, start, {"prune": Depth(0.5, documents=9)}, epochs=2)
    recovered = built(tmp_path / "recovered", task, pruned, {"recover": Finetune(epochs=2)})
    assert layers(pruned.load()) == layers(recovered.load()) == 2
    assert [row.kept for row in reported(pruned, "prune")].count(True) == 2


def test_layers_that_come_back_raise(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    class Grows(Depth):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            stack = structure.stack(module.network.body)[1]
            stack.append(copy.deepcopy(stack[0]))

    with pytest.raises(RuntimeError, match="LayerKept promised 3, got"):
        built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"prune": Grows(documents=2)}, epochs=1)


def test_nothing_to_remove_raises(tmp_path: Path, task: MultiLabel, tiny_model: Model) -> None:
    with pytest.raises(
        RuntimeError, match=r"left every tensor as it was \(ratio=0.1 of 4 layers, of which one must stay\)"
    ):
        built(tmp_path / "built", task, kept(tiny_model, tmp_path / "start"), {"prune": Depth(0.1, documents=2)})


def test_an_int8_network_is_finished(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(tiny_model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        Depth().prepare(Teacher(tiny_model, data, Full(), FAST))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_settings_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"prune.ratio must be in \(0, 1\), got"):
        Depth(ratio)
    with pytest.raises(ValueError, match="prune.documents must be >= 1, got 0"):
        Depth(documents=0)
