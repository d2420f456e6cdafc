"""Laws of cutting attention heads: as if their outputs were silent, in every family, live and replayed."""

import copy
import json
from functools import cache
from typing import Any

import pytest
import torch
from support.families import CONFIGS, HIDDEN, LAYERS, PARAMETERS, filled, rows
from torch import Tensor, nn

from clinlm.config.class_paths import class_path
from clinlm.config.errors import ClinlmError, ModelError
from clinlm.models import structure
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Edit, ModelSpec, Network, rebuild
from clinlm.models.surgery import factorize, keep_heads, keep_hidden, keep_layers, quantize

families = pytest.mark.parametrize("family", PARAMETERS)
HEADS, SIZE = 4, HIDDEN // 4
KEPT = {"0": [1], "2": [0, 2, 3]}  # another number in every layer


def spec(family: str) -> ModelSpec:
    """The family with four heads a layer."""
    name = "n_heads" if family == "distilbert" else "num_attention_heads"
    return ModelSpec(CONFIGS[family] | {name: HEADS}, outputs=3)


def whole(family: str) -> Network:
    return copy.deepcopy(_whole(family))


@cache
def _whole(family: str) -> Network:
    return filled(spec(family).build())


def logits(model: Network, family: str) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(*rows(family))
    return out


def columns(heads: list[int]) -> list[int]:
    return [SIZE * head + place for head in heads for place in range(SIZE)]


@families
def test_kept_heads_compute_as_if_the_others_were_silent(family: str) -> None:
    silent, cut = whole(family), whole(family)
    keep_heads(cut, KEPT)
    for name, kept in KEPT.items():
        gone = columns([head for head in range(HEADS) if head not in kept])
        with torch.no_grad():
            structure.layers(silent.body)[int(name)].attention_output.weight[:, gone] = 0
    assert torch.allclose(logits(cut, family), logits(silent, family), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(cut, family), logits(whole(family), family), atol=1e-3)
    for layer, heads in zip(structure.layers(cut.body), (1, HEADS, 3), strict=True):
        assert layer.heads == heads and layer.head_size == SIZE
        told = [getattr(layer.attention, name, heads) for name in ("num_attention_heads", "n_heads")]
        assert told == [heads, heads]
        widths = [layer.query.out_features, layer.key.out_features, layer.value.out_features]
        assert widths + [layer.attention_output.in_features] == [heads * SIZE] * 4
        assert getattr(layer.attention, "all_head_size", heads * SIZE) == heads * SIZE


@families
def test_what_stays_is_the_same_to_the_bit(family: str) -> None:
    before, model = structure.layers(whole(family).body)[2], whole(family)
    keep_heads(model, KEPT)
    after, kept = structure.layers(model.body)[2], columns(KEPT["2"])
    for role in ("query", "key", "value"):
        old, new = getattr(before, role), getattr(after, role)
        assert new.weight.equal(old.weight[kept]) and (new.bias is None or new.bias.equal(old.bias[kept]))
    assert after.attention_output.weight.equal(before.attention_output.weight[:, kept])
    assert [new.weight.equal(old.weight[kept]) for old, new in zip(before.positions, after.positions, strict=True)] == (
        [True] * (2 if family == "deberta_v2" else 0)
    )


@families
def test_keeping_all_changes_nothing_and_two_steps_are_one(family: str) -> None:
    same, stepwise, at_once = whole(family), whole(family), whole(family)
    keep_heads(same, {str(number): range(HEADS) for number in range(LAYERS)})
    assert all(same.state_dict()[name].equal(tensor) for name, tensor in whole(family).state_dict().items())
    keep_heads(stepwise, {"1": [0, 2, 3]})
    keep_heads(stepwise, {"1": [1, 2]})
    keep_heads(at_once, {"1": [2, 3]})
    assert all(stepwise.state_dict()[name].equal(tensor) for name, tensor in at_once.state_dict().items())


@families
@pytest.mark.parametrize("last", ["none", "factorize", "quantize"])
def test_every_chain_of_edits_replays(family: str, last: str) -> None:
    """Heads, units, layers and dimensions first; then factors; then integers of these factors."""
    live = whole(family)
    edits = [
        Edit("clinlm.models.surgery.keep_heads", {"heads": KEPT}),
        Edit("clinlm.models.surgery.keep_ffn_units", {"units": {"1": [0, 5, 7]}}),
        Edit("clinlm.models.surgery.keep_hidden", {"dimensions": [0, 1, 2, 5, 6, 9, 11, 14]}),
        Edit("clinlm.models.surgery.keep_layers", {"numbers": [0, 2]}),
    ]
    names = [f"body.{layer[role]}" for layer in structure.linear_names(live.body)[:2] for role in ("query", "up")]
    if last != "none":
        edits.append(Edit("clinlm.models.surgery.factorize", {"ranks": dict.fromkeys(names, 2)}))
    if last == "quantize":
        edits.append(Int8Linear.edit([f"{n}.down" for n in names] + ["head"]))
    for number, edit in enumerate(edits):
        edit(live)
        if number == 4:
            with torch.no_grad():
                for parameter in live.parameters():
                    parameter.nan_to_num_(0.3)
    stored = json.loads(json.dumps([{"function": e.function, "arguments": e.arguments} for e in edits]))
    replayed = rebuild(spec(family), [Edit(**edit) for edit in stored]).eval()
    mine, theirs = live.state_dict(), replayed.state_dict()
    assert {n: (t.shape, t.dtype) for n, t in mine.items()} == {n: (t.shape, t.dtype) for n, t in theirs.items()}
    replayed.load_state_dict(mine)
    assert logits(replayed, family).equal(logits(live, family)) and logits(live, family).isfinite().all()


INT8 = class_path(Int8Linear)


@pytest.mark.parametrize(
    ("edit", "arguments", "told"),
    [
        (keep_heads, {"heads": {"3": [0]}}, "layer to keep must be one of 0 to 2, got 3"),
        (keep_heads, {"heads": {"0": []}}, "at least one attention head"),
        (
            keep_heads,
            {"heads": {"0": [0, HEADS]}},
            f"head to keep must be one of 0 to {HEADS - 1}, got {HEADS}",
        ),
        (keep_heads, {"heads": {"0": [1, 0]}}, "ascending order"),
        (factorize, {"ranks": {"body.nowhere": 2}}, "'body.nowhere' must be of class Linear, got no such layer"),
        (factorize, {"ranks": {"dropout": 2}}, "'dropout' must be of class Linear, got Dropout"),
        (factorize, {"ranks": {"head": 0}}, r"rank of a 3 x 16 weight must be in \[1, 3\], got 0"),
        (factorize, {"ranks": {"head": 4}}, r"rank of a 3 x 16 weight must be in \[1, 3\], got 4"),
        (
            quantize,
            {"layer": INT8, "names": ["head", "head"]},
            "got Int8Linear; name each layer once",
        ),
        (
            quantize,
            {"layer": INT8, "names": ["body"]},
            "'body' must be of class Linear, got BertModel",
        ),
    ],
)
def test_what_is_not_there_is_an_error(edit: Any, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ClinlmError, match=told):
        edit(whole("bert"), **arguments)


@families
@pytest.mark.parametrize("role", structure.LINEARS)
def test_factorised_layers_are_not_sliced(family: str, role: str) -> None:
    model = whole(family)
    if role not in structure.linear_names(model.body)[0]:
        assert role == "gate" and family != "modernbert"
        return
    factorize(model, {f"body.{structure.linear_names(model.body)[0][role]}": 1})
    before = copy.deepcopy(model.state_dict())
    cuts = [(keep_hidden, [1, 2])]
    cuts += [(keep_heads, {"0": [1]})] if role not in ("up", "gate", "down") else []
    for edit, what in cuts:
        with pytest.raises(ModelError, match="got a LowRankLinear; prune first, then factorise, then quantise"):
            edit(model, what)  # type: ignore[operator]
    with pytest.raises(ModelError, match="prune first, then factorise"):
        _ = getattr(structure.layers(model.body)[0], role).weight
    keep_layers(model, [0, 2])  # whole layers go, whatever is in them
    assert {name for name in before if ".1." in name} and len(structure.layers(model.body)) == 2


@families
@pytest.mark.parametrize("where", ["query", "down", "head"])
def test_integers_are_neither_sliced_nor_trained(family: str, where: str) -> None:
    model = whole(family)
    name = "head" if where == "head" else f"body.{structure.linear_names(model.body)[1][where]}"
    Int8Linear.edit([name])(model)
    with pytest.raises(ModelError, match=rf"must be floats.* got 1 integer weights \({name}.weight, ...\)"):
        structure.check_trainable(model)
    with pytest.raises(ModelError, match="weights must be floats"):
        keep_hidden(model, [0, 1])
    if where != "head":
        with pytest.raises(ModelError, match="weights must be floats"):
            keep_heads(model, {"0": [0]})


@families
def test_the_names_are_those_of_the_parts(family: str) -> None:
    model = whole(family)
    for names, layer in zip(structure.linear_names(model.body), structure.layers(model.body), strict=True):
        assert list(names) == [role for role in structure.LINEARS if getattr(layer, role) is not None]
        assert all(model.body.get_submodule(name) is getattr(layer, role) for role, name in names.items())
        assert all(isinstance(getattr(layer, role), nn.Linear) for role in names)
