"""Laws of K-prune: knowledge against slower ways, weights that keep a sublayer's output, and the widths it promises."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.pipelines import artifacts, composed, finished

from callbacks.prune.kprune import Kprune
from clinlm.compression.cutting import KeptParts
from clinlm.compression.knowledge import measure_knowledge, preserve
from clinlm.compression.selection import keep_by_cost
from clinlm.config.errors import ConfigError
from clinlm.models import structure
from clinlm.models.adapters.full import Full
from clinlm.models.model import Model
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.training.modules.base import document_logits
from clinlm.training.modules.teacher import Teacher
from clinlm.training.optimizer import AdamW

pytestmark = pytest.mark.usefixtures("quick")
DOCUMENTS = 24


@pytest.fixture
def module(task: MultiLabel, tiny_model: Model) -> Teacher:
    return Teacher(tiny_model, TaskData(task, tiny_model.tokenizer, 32), Full(), AdamW(), seed=3)


def outputs(module: Teacher, linear: torch.nn.Linear) -> torch.Tensor:
    """What a layer puts out at the tokens of the calibration documents."""
    seen: list[torch.Tensor] = []
    handle = linear.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    module.network.eval()
    found = []
    with torch.no_grad():
        for batch in module.data.calibration(DOCUMENTS, module.seed):
            document_logits(module.network, batch, module.task.long_notes)
            found.append(seen.pop()[batch["attention_mask"].bool()])
    handle.remove()
    return torch.cat(found)


def test_what_a_part_adds_is_what_is_missing_without_it(module: Teacher) -> None:
    """Of the heads and some units of the first and the last layer, as shares of the first head."""
    known = measure_knowledge(module, DOCUMENTS, 2.0, representation=1.0)
    found, expected = list[float](), list[float]()
    layers = structure.layers(module.network.body)
    for number in (0, len(layers) - 1):
        layer = layers[number]
        for linear, own, step in ((layer.attention_output, known.heads, 1), (layer.down, known.units, 9)):
            whole, size = outputs(module, linear), linear.in_features // len(own[number])
            for part in range(0, len(own[number]), step):
                kept = linear.weight.detach().clone()
                with torch.no_grad():
                    linear.weight[:, part * size : (part + 1) * size] = 0
                expected.append(float((whole - outputs(module, linear)).double().square().sum()))
                found.append(float(own[number][part]))
                with torch.no_grad():
                    linear.weight.copy_(kept)
    np.testing.assert_allclose(np.array(found) / found[0], np.array(expected) / expected[0], rtol=1e-3)


def test_predictive_knowledge_grows_with_what_a_unit_does_to_the_predictions(module: Teacher) -> None:
    """Against the KL itself, with a gate a little below 1: ranks, as answers are drawn and the KL is not quadratic."""
    known = measure_knowledge(module, 10**6, 1.0, representation=0.0)
    layer = structure.layers(module.network.body)[-1]
    batches = module.data.calibration(10**6, module.seed)
    module.network.eval()

    def predictions() -> torch.Tensor:
        with torch.no_grad():
            logits = [document_logits(module.network, batch, module.task.long_notes) for batch in batches]
        return torch.cat(logits).double().sigmoid()

    whole, kl = predictions(), []
    for unit in range(layer.down.in_features):
        kept = layer.down.weight.detach().clone()
        with torch.no_grad():
            layer.down.weight[:, unit] *= 0.5
        other = predictions()
        with torch.no_grad():
            layer.down.weight.copy_(kept)
        kl.append(float((whole * (whole / other).log() + (1 - whole) * ((1 - whole) / (1 - other)).log()).sum()))
    ranks = [np.argsort(np.argsort(values)) for values in (known.units[-1].numpy(), np.array(kl))]
    assert np.corrcoef(*ranks)[0, 1] > 0.8


def test_knowledge_is_a_share_of_the_network_and_the_same_again(module: Teacher) -> None:
    once, again = (measure_knowledge(module, DOCUMENTS, 2.0, 0.5) for _ in range(2))
    every = [*once.heads, *once.units]
    assert sum(float(own.sum()) for own in every) == pytest.approx(1.0) and all((own >= 0).all() for own in every)
    assert all(map(torch.equal, every, [*again.heads, *again.units]))


def kept_half(module: Teacher) -> KeptParts:
    layers = structure.layers(module.network.body)
    numbers = range(len(layers))
    return KeptParts(
        [*numbers],
        {n: [0] for n in numbers},
        {n: [*range(0, layers[n].down.in_features, 2)] for n in numbers},
        [*range(structure.hidden_size(module.network.body))],
        None,
    )


def test_refitted_weights_keep_more_of_the_output_than_zeros_do(module: Teacher) -> None:
    kept, before = kept_half(module), copy.deepcopy(module.network)
    expected = [outputs(module, layer.down) for layer in structure.layers(module.network.body)]
    preserve(module.network, kept, module.data.calibration(DOCUMENTS, module.seed), module.task.long_notes)
    fitted = [outputs(module, layer.down) for layer in structure.layers(module.network.body)]
    module.model.network.load_state_dict(before.state_dict())
    with torch.no_grad():
        for number, layer in enumerate(structure.layers(module.network.body)):
            layer.attention_output.weight[:, layer.head_size :] = 0
            gone = [unit for unit in range(layer.down.in_features) if unit not in kept.units[number]]
            layer.down.weight[:, gone] = 0
    zeroed = [outputs(module, layer.down) for layer in structure.layers(module.network.body)]
    for target, ours, theirs in zip(expected, fitted, zeroed, strict=True):
        assert (ours - target).square().sum() < 0.7 * (theirs - target).square().sum()


def test_a_part_that_repeats_another_is_replaced_by_it(module: Teacher) -> None:
    """Two equal units: without one of them, the other does the work of both, and no output changes."""
    layer = structure.layers(module.network.body)[0]
    with torch.no_grad():
        layer.up.weight[1], layer.up.bias[1] = layer.up.weight[0], layer.up.bias[0]
    whole = outputs(module, layer.down)
    kept = kept_half(module)
    layers = structure.layers(module.network.body)
    kept = KeptParts(
        kept.layers,
        {n: [*range(one.heads)] for n, one in enumerate(layers)},
        {n: [unit for unit in range(one.down.in_features) if n or unit != 1] for n, one in enumerate(layers)},
        kept.hidden,
        None,
    )
    preserve(module.network, kept, module.data.calibration(DOCUMENTS, module.seed), module.task.long_notes)
    assert not layer.down.weight[:, 1].any()
    assert (outputs(module, layer.down) - whole).abs().max() < 0.05 * whole.abs().max()


@pytest.mark.parametrize("settings", [{}, {"heads": False}, {"spread": "layers"}, {"ratio": 0.6}])
def test_it_leaves_the_widths_of_its_report(module: Teacher, settings: dict[str, Any]) -> None:
    layers = structure.layers(module.network.body)
    before = [(layer.heads, layer.down.in_features) for layer in layers]
    pruning = Kprune(documents=DOCUMENTS, **settings)
    pruning.prepare(module)
    after = [(layer.heads, layer.down.in_features) for layer in structure.layers(module.network.body)]
    rows: list[Any] = [*pruning.report().rows]
    assert [(row.heads_before, row.units_before) for row in rows] == before
    assert [(row.heads_after, row.units_after) for row in rows] == after != before
    assert pruning.report().broken(module.model) == ""
    if "heads" in settings:
        assert [heads for heads, _ in after] == [heads for heads, _ in before]
    if "spread" in settings:
        assert len({*after}) == 1


groups = st.lists(
    st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 4)), min_size=1, max_size=4
)


@given(groups, st.floats(0.05, 0.95))
def test_the_least_for_their_cost_go_until_the_share_is_gone(every: list[tuple[list[int], int]], ratio: float) -> None:
    scores, costs = [torch.tensor(own, dtype=torch.float) for own, _ in every], [cost for _, cost in every]
    kept = keep_by_cost(scores, costs, ratio)
    gone = [sorted({*range(len(own))} - {*stay}) for own, stay in zip(scores, kept, strict=True)]
    removed = sum(cost * len(own) for cost, own in zip(costs, gone, strict=True))
    left = ratio * sum(cost * len(own) for cost, own in zip(costs, scores, strict=True)) - removed
    assert all(kept) and left >= -1e-6
    for g, stay in enumerate(kept):
        assert len(stay) == 1 or costs[g] > left - 1e-6, "a part that fits was left"
        if gone[g]:
            assert max(float(scores[g][part]) for part in gone[g]) <= min(float(scores[g][part]) for part in stay)


@pytest.mark.parametrize(
    "wrong", [{"ratio": 0.0}, {"spread": "all"}, {"temperature": 0.0}, {"representation": 1.5}, {"documents": 0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"prune.{next(iter(wrong))}"):
        Kprune(**wrong)


def test_a_pipeline_ends_with_a_smaller_model(notes_csv: Path, tmp_path: Path) -> None:
    config = composed(notes_csv, tmp_path / "store", "pipeline=pruning", "prune=kprune", "epochs=1", "~stages.recover")
    teacher, pruned = (own.report["parameters"] for own in artifacts(finished(config)).values())
    assert pruned < teacher
