"""Laws of pruning attention heads: importance by a slow way, a ranking over all layers, and heads that stay cut."""

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
from torch import Tensor

from callbacks.prune.heads import Heads
from callbacks.recover.finetune import Finetune
from clinlm.compression.scores import head_importances, head_products
from clinlm.compression.selection import keep_best_overall
from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.initializers.from_teacher import FromTeacher
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model, ModelSpec
from clinlm.tasks.batches import pool_rows
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Windows
from clinlm.training.modules.base import predict
from clinlm.training.modules.teacher import Teacher

pytestmark = pytest.mark.usefixtures("quick")
HEADS, SIZE = 4, 8


@pytest.fixture
def model(tiny_model: Model) -> Model:
    """The tiny model with four heads a layer."""
    spec = ModelSpec(dict(tiny_model.spec.config) | {"num_attention_heads": HEADS}, tiny_model.spec.outputs)
    network = spec.build()
    network.load_state_dict(tiny_model.network.state_dict())
    return Model(spec, network, tiny_model.tokenizer)


def heads(model: Model) -> list[int]:
    return [layer.heads for layer in structure.layers(model.network.body)]


def test_products_by_hand() -> None:
    """Two heads of two numbers; the signs of two tokens do not cancel."""
    outputs = torch.tensor([[[1.0, 2.0, 3.0, 0.0], [1.0, 0.0, 1.0, 1.0]]])
    gradients = torch.tensor([[[1.0, 1.0, 0.5, 9.0], [-3.0, 7.0, 1.0, -1.0]]])
    assert head_products(outputs, gradients, 2).tolist() == [3.0 + 3.0, 1.5 + 0.0]


@pytest.mark.parametrize("long_notes", [None, Windows(most=3)], ids=["head", "windows"])
def test_importance_is_that_of_a_slow_loop(
    task: MultiLabel, model: Model, long_notes: Windows | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Document by document, row by row (so that there is no padding), token by token, head by head."""
    if long_notes is not None:
        monkeypatch.setitem(vars(task), "long_notes", long_notes)
    data = TaskData(task, model.tokenizer, 16)
    found = head_importances(Teacher(model, data, Full(), FAST, seed=3), documents=9)
    layers = structure.layers(model.network.body)
    assert model.network.training and not layers[0].attention_output._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.network.parameters())
    batches = data.calibration(9, seed=3)
    assert any((batch["attention_mask"] == 0).any() for batch in batches)
    seen: list[Tensor] = []

    def hook(_: Any, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].retain_grad()
        seen.append(inputs[0])

    for layer in layers:
        layer.attention_output.register_forward_pre_hook(hook)
    totals = np.zeros((len(layers), HEADS))
    model.network.eval()
    for document in (number for batch in batches for number in batch["index"].tolist()):
        seen.clear()
        ids = [torch.from_numpy(row.astype(np.int64))[None] for row in data.encoded.rows(document)]
        logits = torch.cat([model.network(row, torch.ones_like(row)) for row in ids])
        pooled = pool_rows(task.long_notes, logits, torch.zeros(len(ids), dtype=torch.long), 1)
        task.loss(pooled, data.collate([document])["targets"]).backward()
        for place, read in enumerate(seen):
            assert read.grad is not None
            for output, gradient in zip(read[0].detach().double(), read.grad[0].double(), strict=True):
                for head in range(HEADS):
                    part = slice(SIZE * head, SIZE * (head + 1))
                    totals[place % len(layers), head] += abs(float(output[part] @ gradient[part]))
    wanted = totals / np.sqrt((totals**2).sum(1, keepdims=True))
    np.testing.assert_allclose(torch.stack(found).numpy(), wanted, rtol=1e-3)


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "max_mean", "attention", "label_attention"])
def test_padding_has_no_gradient(family: str, pooling: Any) -> None:
    model = network(family, pooling)
    read: list[Tensor] = []
    for layer in structure.layers(model.body):
        layer.attention_output.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    ids, mask = rows(family)
    for gradient in torch.autograd.grad(model(ids, mask).square().sum(), read):
        assert (gradient[mask == 0] == 0).all() and (gradient[mask == 1] != 0).any()


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=5), min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_the_least_of_all_layers_go(values: list[list[int]], ratio: float) -> None:
    stay = keep_best_overall([torch.tensor(ours, dtype=torch.float) for ours in values], ratio)
    slow = [list(range(len(ours))) for ours in values]
    for _ in range(round(ratio * sum(map(len, values)))):
        left = [(values[n][h], -n, -h) for n, ours in enumerate(slow) if len(ours) > 1 for h in ours]
        if left:
            _, layer, head = min(left)
            slow[-layer].remove(-head)
    assert stay == slow and all(stay)


@pytest.mark.parametrize(("ratio", "total"), [(0.25, 12), (0.5, 8), (0.99, 4)])
def test_the_cut_network_is_the_whole_one_with_silent_heads(
    task: MultiLabel, model: Model, ratio: float, total: int
) -> None:
    data = TaskData(task, model.tokenizer, 32)
    silent = copy.deepcopy(model)
    method = Heads(ratio, documents=9)
    method.prepare(Teacher(model, data, Full(), FAST))
    (edit,) = model.edits
    assert sum(heads(model)) == total == sum(row.heads_after for row in method.report().rows)
    assert [row.heads_before for row in method.report().rows] == [HEADS] * 4
    for name, stay in edit.arguments["heads"].items():
        weight = structure.layers(silent.network.body)[int(name)].attention_output.weight
        with torch.no_grad():
            for head in {*range(HEADS)} - {*stay}:
                weight[:, SIZE * head : SIZE * (head + 1)] = 0
    loader = data.loader(task.examples.members("test"))
    ours, theirs = (predict(one.network, loader, task.long_notes)[1] for one in (model, silent))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_heads_hold_in_training_and_in_recovery(tmp_path: Path, task: MultiLabel, model: Model) -> None:
    start = kept(model, tmp_path / "start")
    pruned = built(tmp_path / "pruned", task, start, {"prune": Heads(0.25, documents=9)}, epochs=2)
    recovered = built(tmp_path / "recovered", task, pruned, {"recover": Finetune(epochs=2)}).load()
    told = [row.heads_after for row in reported(pruned, "prune")]
    assert heads(pruned.load()) == heads(recovered) == told and sum(told) == 12
    assert start.load().edits == [] and recovered.edits == pruned.load().edits != []
    twice = built(tmp_path / "twice", task, pruned, {"prune": Heads(0.25, documents=9)})
    assert sum(heads(twice.load())) == 9
    for student in (FromTeacher(2), FromTeacher(2, 24)):
        cut = student.begin(task, twice.load())
        assert heads(cut) == [heads(twice.load())[0], heads(twice.load())[-1]]
        data = TaskData(task, cut.tokenizer, cut.max_tokens)
        assert predict(cut.network, data.loader(task.examples.members("test")), task.long_notes)[1].all()


def test_heads_that_come_back_raise(tmp_path: Path, task: MultiLabel, model: Model) -> None:
    class Grows(Heads):  # type: ignore[misc]
        def step(self, module: Any, progress: float) -> None:
            structure.layers(module.network.body)[0].query.out_features = 2 * SIZE * HEADS

    with pytest.raises(RuntimeError, match=r"HeadCount promised \[.*\], got \[8,"):
        built(tmp_path / "built", task, kept(model, tmp_path / "start"), {"prune": Grows(documents=2)}, epochs=1)


def test_nothing_to_cut_raises(tmp_path: Path, task: MultiLabel, model: Model) -> None:
    told = r"left every tensor as it was \(ratio=0.01; heads of the layers, of which one each must stay: 4, 4, 4, 4\)"
    with pytest.raises(RuntimeError, match=told):
        built(tmp_path / "built", task, kept(model, tmp_path / "start"), {"prune": Heads(0.01, documents=2)})


def test_integers_have_no_gradient(task: MultiLabel, model: Model) -> None:
    data = TaskData(task, model.tokenizer, 32)
    Int8Linear.edit(["body.encoder.layer.0.output.dense"])(model.network)
    with pytest.raises(ModelError, match="weights must be floats"):
        Heads().prepare(Teacher(model, data, Full(), FAST))


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_settings_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r"prune.ratio must be in \(0, 1\), got"):
        Heads(ratio)
    with pytest.raises(ValueError, match="prune.documents must be >= 1, got 0"):
        Heads(documents=0)
