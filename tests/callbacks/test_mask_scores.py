"""What masks rank by, and how: arithmetic by hand and by slower ways."""

import copy
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.competition import groups, linears
from support.pipelines import FAST
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.prune.movement import Movement
from callbacks.prune.unstructured import Unstructured
from callbacks.prune.wanda import Wanda
from callbacks.schedules.cubic import Cubic
from callbacks.schedules.one_shot import OneShot
from clinlm.compression.masks import Scope, bake, competitors, survivors
from clinlm.compression.scores import input_norms
from clinlm.models.adapters.full import Full
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.teacher import Teacher


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=12), st.data())
def test_the_best_survive(weights: list[tuple[int, bool]], data: Any) -> None:
    count = data.draw(st.integers(1, len(weights)))
    ranked = sorted(range(len(weights)), key=lambda i: (not weights[i][1], weights[i][0], -i))  # of equals, last first
    gone = max(count, sum(bar for _, bar in weights))
    scores, barred = torch.tensor([float(score) for score, _ in weights]), torch.tensor([bar for _, bar in weights])
    two = survivors(torch.stack([scores, scores]), torch.stack([barred, barred]), count)
    assert two.tolist() == [[i not in ranked[:gone] for i in range(len(weights))]] * 2


@pytest.mark.parametrize("scope", ["global", "layer", "row", 2, 4, 7])
def test_competitors_are_those_of_a_slow_loop(scope: Scope) -> None:
    tensors = {"a": torch.arange(15.0).view(3, 5), "b": torch.arange(15.0, 23.0).view(2, 4)}
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    views = competitors(flat, [tensor.shape for tensor in tensors.values()], scope)
    found = [row for view in views for row in view.reshape(-1, view.shape[-1] or 1)]
    assert [row.tolist() for row in found] == [group.tolist() for group in groups(tensors, scope)]
    total = flat.sum()
    for view in views:
        view.neg_()
    assert flat.sum() == total - 2 * sum(row.sum() for row in groups(tensors, scope)), "they are views"


def test_baked_zeros_are_those_of_the_mask() -> None:
    weight = torch.tensor([[1.0, float("nan"), 0.0], [-2.0, 0.0, 3.0]])
    alive = torch.tensor([[True, False, True], [False, False, True]])
    assert torch.equal(bake(weight, alive), ~alive)
    assert weight.tolist() == [[1.0, 0.0, torch.finfo(torch.float32).tiny], [0.0, 0.0, 3.0]]


def test_movement_by_hand() -> None:
    """Two steps of SGD with rate 1 on the sum of outputs: dL/dW' is the input in every row, masked or not."""
    mask = Movement(schedule=Cubic()).mask(torch.tensor([[False, True, True], [True, True, True], [True, True, True]]))
    linear = nn.Linear(3, 3, bias=False)
    linear.weight = nn.Parameter(torch.tensor([[0.0, 5.0, 1.0], [1.0, -2.0, 3.0], [-1.0, 1.0, 4.0]]))
    parametrize.register_parametrization(linear, "weight", mask)
    original = cast(Any, linear).parametrizations.weight.original
    linear(torch.tensor([1.0, -1.0, 2.0])).sum().backward()
    assert mask.get_buffer("scores").tolist() == [[0.0, 5.0, -2.0], [-1.0, -2.0, -6.0], [1.0, 1.0, -8.0]]
    assert original.grad.tolist() == [[0.0, -1.0, 2.0], [1.0, -1.0, 2.0], [1.0, -1.0, 2.0]]
    with torch.no_grad():
        original -= original.grad
        mask.alive[1, 2] = mask.alive[2, 0] = False
    original.grad = None
    assert original.tolist() == [[0.0, 6.0, -1.0], [0.0, -1.0, 1.0], [-2.0, 2.0, 2.0]]
    linear(torch.tensor([2.0, 1.0, 1.0])).sum().backward()
    assert original.grad.tolist() == [[0.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert mask.get_buffer("scores").tolist() == [[0.0, -1.0, -1.0], [-1.0, -1.0, -7.0], [5.0, -1.0, -10.0]]
    assert mask.barred().tolist() == [[True, False, False], [False] * 3, [False] * 3], "the others may return"


def test_scores_of_wanda_are_those_of_a_slow_loop(task: MultiLabel, tiny_model: Model) -> None:
    """The slow loop reads one row after the other, so that there is no padding to ignore."""
    data = TaskData(task, tiny_model.tokenizer, 16)
    module = Teacher(tiny_model, data, Full(), FAST, seed=3)
    modules = [m for m in tiny_model.network.body.modules() if isinstance(m, nn.Linear)]
    found = input_norms(module, modules, documents=9)
    assert tiny_model.network.training and not modules[0]._forward_pre_hooks
    batches = data.calibration(9, seed=3)
    assert any((batch["attention_mask"] == 0).any() for batch in batches)
    totals, seen = [np.zeros(linear.in_features) for linear in modules], dict[int, Tensor]()
    for number, linear in enumerate(modules):
        linear.register_forward_pre_hook(lambda _, inputs, number=number: seen.update({number: inputs[0].detach()}))
    tiny_model.network.eval()
    for document in (number for batch in batches for number in batch["index"].tolist()):
        for row in data.encoded.rows(document):
            ids = torch.from_numpy(row.astype(np.int64))[None]
            tiny_model.network(ids, torch.ones_like(ids))
            for number, inputs in seen.items():
                totals[number] += (inputs[0].double().numpy() ** 2).sum(0)
    for norm, total in zip(found, totals, strict=True):
        np.testing.assert_allclose(norm.numpy(), np.sqrt(total), rtol=1e-4)
    pruning = Wanda(0.25, documents=9, schedule=OneShot())
    before = linears(tiny_model)
    pruning.prepare(module)
    for (name, linear), norm in zip(pruning.linears.items(), found, strict=True):
        for old, new in zip(before[name], linear.weight.detach(), strict=True):
            worth = old.abs() * norm
            assert worth[new == 0].max() <= worth[new != 0].min() and (new == 0).sum() == round(0.25 * len(new))


def test_masks_grow_and_only_movement_lets_weights_return(task: MultiLabel, tiny_model: Model) -> None:
    data = TaskData(task, tiny_model.tokenizer, 32)
    for make in (partial(Unstructured, 0.5), partial(Movement, 0.5)):
        model = copy.deepcopy(tiny_model)
        pruning, module = make(schedule=Cubic(end=1.0, updates=4)), Teacher(model, data, Full(), FAST)
        pruning.prepare(module)
        dead, returned = [~mask.alive.clone() for mask in pruning.masks], 0
        for step in range(1, 5):
            with torch.no_grad():
                for linear, mask in zip(pruning.linears.values(), pruning.masks, strict=True):
                    cast(Any, linear).parametrizations.weight.original.normal_()
                    getattr(mask, "scores", mask.alive.float()).normal_()
            pruning.step(module, step / 4)
            returned += sum(int((old & mask.alive).sum()) for old, mask in zip(dead, pruning.masks, strict=True))
            dead = [~mask.alive.clone() for mask in pruning.masks]
        assert bool(returned) == isinstance(pruning, Movement)
        assert sum(int(one.sum()) for one in dead) == round(0.5 * sum(one.numel() for one in dead))
