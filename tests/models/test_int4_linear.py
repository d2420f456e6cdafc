"""Laws of INT4 layers: every value packs and unpacks, groups may be short, and what is counted."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.size import count_nonzero, count_parameters


def linear(inputs: int = 21, outputs: int = 6, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 45), st.integers(0, 99))
def test_no_weight_is_off_by_more_than_half_a_step(inputs: int, outputs: int, size: int, seed: int) -> None:
    whole = linear(inputs, outputs, seed=seed)
    layer = Int4Linear.from_float(whole, size)
    assert layer.weight.shape == (outputs, -(-inputs // 2)) and layer.scale.shape == (outputs, -(-inputs // size))
    wide = layer.scale.repeat_interleave(size, 1)[:, :inputs]
    assert ((layer.dequantized() - whole.weight).abs() <= wide * 0.5001).all()
    assert layer.integers().abs().max() == 7


@pytest.mark.parametrize("inputs", [20, 21])
@pytest.mark.parametrize("bias", [True, False])
def test_it_multiplies_what_its_integers_stand_for(inputs: int, bias: bool) -> None:
    layer, x = Int4Linear.from_float(linear(inputs, bias=bias), 8), torch.randn(2, 3, inputs)
    slow = torch.stack([x.double() @ row for row in layer.dequantized().double()], -1)
    if layer.bias is not None:
        slow += layer.bias
    torch.testing.assert_close(layer(x), slow.float())
    assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_half_a_byte_a_weight_and_as_many_parameters() -> None:
    whole = linear()
    with torch.no_grad():
        whole.weight[:, :3] = 0
    layer = Int4Linear.from_float(whole, 32)
    assert layer.weight.numel() * layer.weight.element_size() == 6 * 11
    assert count_parameters(layer) == count_parameters(whole) == 6 * 21 + 6
    assert (layer.integers()[:, :3] == 0).all() and count_nonzero(layer) <= count_nonzero(whole)


def test_loading_a_saved_layer_answers_to_the_bit() -> None:
    layer, x = Int4Linear.from_float(linear(), 4), torch.randn(3, 21)
    other = Int4Linear(21, 6, group_size=4)
    other.load_state_dict(layer.state_dict(), strict=True)
    assert other(x).equal(layer(x)) and copy.deepcopy(layer)(x).equal(layer(x))
    assert set(layer.state_dict()) == {"weight", "scale", "bias"}


def test_smaller_groups_err_less() -> None:
    whole = linear(256, 16)
    off = [Int4Linear.from_float(whole, size).dequantized() - whole.weight.detach() for size in (8, 32, 128)]
    errors = [float(one.norm()) for one in off]
    assert errors == sorted(errors)


def test_an_empty_group_is_refused() -> None:
    with pytest.raises(ValueError, match="group_size must be >= 1, got 0"):
        Int4Linear(4, 4, group_size=0)
