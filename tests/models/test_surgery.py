"""Laws of structural edits: a sliced network computes what the whole one does with the removed parts made silent."""

import copy
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.families import HIDDEN, LAYERS, PARAMETERS, UNITS, config, network, rows, spec
from torch import Tensor, nn
from torch.nn import functional

from clinlm.config.errors import ModelError
from clinlm.models import structure
from clinlm.models.model import Edit, Network, rebuild
from clinlm.models.surgery import keep_ffn_units, keep_hidden, keep_layers

families = pytest.mark.parametrize("family", PARAMETERS)
KEPT_UNITS = {"0": [0, 3, 4, 11], "2": [5]}  # another width in every layer
KEPT_DIMENSIONS = [0, 2, 3, 7, 8, 9, 15]
EDITS = [
    Edit("clinlm.models.surgery.keep_ffn_units", {"units": KEPT_UNITS}),
    Edit("clinlm.models.surgery.keep_layers", {"numbers": [0, 2]}),
    Edit("clinlm.models.surgery.keep_hidden", {"dimensions": KEPT_DIMENSIONS}),
]


def logits(model: Network, family: str) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(*rows(family))
    return out


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=2e-6)


@families
def test_kept_ffn_units_compute_as_if_the_others_were_silent(family: str) -> None:
    whole = network(family)
    sliced = copy.deepcopy(whole)
    keep_ffn_units(sliced, KEPT_UNITS)
    for name, kept in KEPT_UNITS.items():
        gone = [unit for unit in range(UNITS) if unit not in kept]
        with torch.no_grad():
            structure.layers(whole.body)[int(name)].down.weight[:, gone] = 0
    assert [layer.up.out_features for layer in structure.layers(sliced.body)] == [4, UNITS, 1]
    assert [layer.down.in_features for layer in structure.layers(sliced.body)] == [4, UNITS, 1]
    assert close(logits(sliced, family), logits(whole, family))
    assert not close(logits(sliced, family), logits(network(family), family))  # the units had something to say


class Silent(nn.Module):
    """A layer that hands on what it gets, in the form in which its family does."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.attention_type = layer, getattr(layer, "attention_type", None)

    def forward(self, hidden: Tensor, *rest: Any, **more: Any) -> Any:
        found = self.layer(hidden, *rest, **more)
        return (hidden, *found[1:]) if isinstance(found, tuple) else hidden


@families
@pytest.mark.parametrize("numbers", [[0], [2], [0, 2], [0, 1, 2]])
def test_kept_layers_run_alone(family: str, numbers: list[int]) -> None:
    whole = network(family)
    cut = copy.deepcopy(whole)
    keep_layers(cut, numbers)
    _, stack = structure.stack(whole.body)
    for number in set(range(LAYERS)) - set(numbers):
        stack[number] = Silent(stack[number])
    assert len(structure.layers(cut.body)) == len(numbers)
    assert config(cut).num_hidden_layers == len(numbers)
    assert close(logits(cut, family), logits(whole, family))


class NormOfSome(nn.Module):
    """A LayerNorm that sees and writes only some dimensions, and leaves zero in the others."""

    def __init__(self, norm: nn.LayerNorm, kept: list[int]) -> None:
        super().__init__()
        self.norm, self.kept = norm, kept

    def forward(self, hidden: Tensor) -> Tensor:
        out = torch.zeros_like(hidden)
        bias = None if self.norm.bias is None else self.norm.bias[self.kept]
        weight, k = self.norm.weight[self.kept], self.kept
        out[..., k] = functional.layer_norm(hidden[..., k], (len(k),), weight, bias, self.norm.eps)
        return out


@families
@pytest.mark.parametrize("pooling", ["mean", "attention", "label_attention", "max", "max_mean", "cls"])
def test_kept_dimensions_compute_as_if_the_others_were_zero(family: str, pooling: Any) -> None:
    whole = network(family, pooling)
    narrow = copy.deepcopy(whole)
    keep_hidden(narrow, KEPT_DIMENSIONS)
    gone = [d for d in range(HIDDEN) if d not in KEPT_DIMENSIONS]
    extra_tables, extra_norms = structure.hidden_extras(whole.body)
    norms = structure.norms(whole.body) + extra_norms
    for table in extra_tables:
        with torch.no_grad():
            table.weight[:, gone] = 0
    for module in list(whole.body.modules()):
        for name, child in list(module.named_children()):
            if any(child is norm for norm in norms):
                setattr(module, name, NormOfSome(child, KEPT_DIMENSIONS))  # type: ignore[arg-type]
    projection = structure.embedding_projection(whole.body)
    assert (projection is not None) == (family == "electra_projected")
    if projection is not None:
        with torch.no_grad():
            projection.weight[gone] = 0
            projection.bias[gone] = 0
    assert structure.hidden_size(narrow.body) == len(KEPT_DIMENSIONS)
    assert close(logits(narrow, family), logits(whole, family))


@families
def test_keeping_everything_changes_nothing(family: str) -> None:
    whole = network(family, "attention")
    same = copy.deepcopy(whole)
    keep_hidden(same, range(HIDDEN))
    keep_layers(same, range(LAYERS))
    keep_ffn_units(same, {str(n): range(UNITS) for n in range(LAYERS)})
    state = same.state_dict()
    assert state.keys() == whole.state_dict().keys()
    assert all(state[name].equal(tensor) for name, tensor in whole.state_dict().items())
    assert logits(same, family).equal(logits(whole, family))


@families
def test_what_stays_is_the_same_to_the_bit(family: str) -> None:
    whole, cut = network(family), network(family)
    for edit in EDITS:
        edit(cut)
    before, after = structure.layers(whole.body)[2], structure.layers(cut.body)[1]
    assert after.up.weight.equal(before.up.weight[KEPT_UNITS["2"]][:, KEPT_DIMENSIONS])
    assert after.up.bias is None or after.up.bias.equal(before.up.bias[KEPT_UNITS["2"]])
    assert after.gate is None or after.gate.weight.equal(before.gate.weight[KEPT_UNITS["2"]][:, KEPT_DIMENSIONS])
    assert after.down.weight.equal(before.down.weight[KEPT_DIMENSIONS][:, KEPT_UNITS["2"]])
    assert after.query.weight.equal(before.query.weight[:, KEPT_DIMENSIONS])
    assert after.attention_output.weight.equal(before.attention_output.weight[KEPT_DIMENSIONS])
    assert cut.head.weight.equal(whole.head.weight[:, KEPT_DIMENSIONS])


@families
def test_replayed_edits_take_the_weights_and_answer_alike(family: str) -> None:
    live = network(family, "attention")
    for edit in EDITS:
        edit(live)
    stored = json.loads(json.dumps([{"function": e.function, "arguments": e.arguments} for e in EDITS]))
    torch.manual_seed(1)
    replayed = rebuild(spec(family, "attention"), [Edit(**edit) for edit in stored]).eval()
    assert {n: t.shape for n, t in replayed.state_dict().items()} == {n: t.shape for n, t in live.state_dict().items()}
    replayed.load_state_dict(live.state_dict())
    assert logits(replayed, family).equal(logits(live, family))


@families
def test_an_edited_network_trains(family: str) -> None:
    cut = network(family)
    for edit in EDITS:
        edit(cut)
    cut.train()(*rows(family)).square().sum().backward()
    layer = structure.layers(cut.body)[0]
    assert all(part.weight.grad is not None for part in (layer.up, layer.down, layer.query, layer.output_norm))


@settings(max_examples=30)
@given(st.data())
def test_any_choice_of_units_in_two_steps_or_in_one(data: st.DataObject) -> None:
    first = sorted(data.draw(st.sets(st.integers(0, UNITS - 1), min_size=1)))
    second = sorted(data.draw(st.sets(st.integers(0, len(first) - 1), min_size=1)))
    stepwise, at_once = network("bert"), network("bert")
    keep_ffn_units(stepwise, {"1": first})
    keep_ffn_units(stepwise, {"1": second})
    keep_ffn_units(at_once, {"1": [first[place] for place in second]})
    state = at_once.state_dict()
    assert all(state[name].equal(tensor) for name, tensor in stepwise.state_dict().items())


@families
def test_writers_are_all_that_the_hidden_state_is_made_of(family: str) -> None:
    """Without a dimension's rows in the writers, and without norms and biases, the dimension is zero."""
    model = network(family)
    writers = structure.writers(model.body)
    tables = 1 if family == "electra_projected" else len(structure.embedding_parts(model.body)[0])
    assert len(writers) == tables + 2 * LAYERS
    with torch.no_grad():
        for linear in (one for layer in structure.layers(model.body) for one in (layer.attention_output, layer.down)):
            if linear.bias is not None:
                linear.bias.zero_()
        for writer in writers:
            assert writer.shape[0] == HIDDEN
            writer[5] = 0
        for norm in structure.norms(model.body):
            norm.register_forward_hook(lambda _, inputs, __: inputs[0])
        projection = structure.embedding_projection(model.body)
        if projection is not None:
            projection.bias.zero_()
        ids, mask = rows(family)
        hidden = model.body(input_ids=ids, attention_mask=mask).last_hidden_state
    assert (hidden[..., 5] == 0).all()
    assert (hidden[..., 4] != 0).any()


@pytest.mark.parametrize(
    ("edit", "arguments", "message"),
    [
        (keep_ffn_units, {"units": {"3": [0]}}, "layer to keep must be one of 0 to 2, got 3"),
        (keep_ffn_units, {"units": {"-1": [0]}}, "layer to keep must be one of 0 to 2, got -1"),
        (keep_ffn_units, {"units": {"0": []}}, "at least one FFN unit"),
        (keep_ffn_units, {"units": {"0": [UNITS]}}, f"FFN unit to keep must be one of 0 to {UNITS - 1}, got {UNITS}"),
        (keep_ffn_units, {"units": {"0": [-1, 0]}}, "FFN unit to keep must be one of .*, got -1"),
        (keep_ffn_units, {"units": {"0": [1, 0]}}, "ascending order"),
        (keep_ffn_units, {"units": {"0": [1, 1]}}, "once"),
        (keep_layers, {"numbers": []}, "at least one layer"),
        (keep_layers, {"numbers": [0, 3]}, "layer to keep must be one of 0 to 2, got 3"),
        (keep_layers, {"numbers": [2, 0]}, "ascending order"),
        (keep_hidden, {"dimensions": []}, "at least one hidden dimension"),
        (keep_hidden, {"dimensions": [HIDDEN]}, f"hidden dimension to keep must be .*, got {HIDDEN}"),
    ],
)
def test_what_is_not_there_cannot_be_kept(edit: Any, arguments: dict[str, Any], message: str) -> None:
    model = network("bert")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message):
        edit(model, **arguments)
    assert all(before[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_an_unknown_architecture_is_named() -> None:
    model = network("bert")
    model.body = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="got Sequential"):
        keep_layers(model, [0])
    model = network("bert")
    structure.stack(model.body)[1][1] = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="got Linear"):
        keep_ffn_units(model, {"0": [0]})
