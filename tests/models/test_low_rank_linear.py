"""Laws of low-rank pairs: the nearest product of their rank, of two factors of equal weight."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clinlm.config.errors import ModelError
from clinlm.models.layers.low_rank_linear import LowRankLinear, truncated_svd
from clinlm.models.size import count_nonzero, count_parameters


def linear(inputs: int, outputs: int, bias: bool = True, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, bias=bias)


def test_factors_by_hand() -> None:
    """A diagonal matrix: its entries are the singular values, and the largest two stay."""
    up, down = truncated_svd(torch.diag(torch.tensor([4.0, 1.0, 9.0])), 2)
    assert torch.allclose(up.abs(), torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]]))
    assert torch.allclose(up @ down, torch.diag(torch.tensor([4.0, 0.0, 9.0])))


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_what_is_lost_is_the_singular_values_left_out(inputs: int, outputs: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(inputs, outputs)))
    weight = linear(inputs, outputs, seed=data.draw(st.integers(0, 99))).weight.detach().double()
    up, down = truncated_svd(weight, rank)
    assert up.shape == (outputs, rank) and down.shape == (rank, inputs)
    eigenvalues = torch.linalg.eigvalsh(weight @ weight.T).flip(0).clamp_min(0)  # squares of the singular values
    assert torch.allclose((weight - up @ down).square().sum(), eigenvalues[rank:].sum(), atol=1e-12)
    assert torch.allclose(up.square().sum(0), down.square().sum(1))  # split evenly


@pytest.mark.parametrize("bias", [True, False])
def test_full_rank_is_the_layer(bias: bool) -> None:
    whole = linear(7, 5, bias)
    pair = LowRankLinear.of(whole, 5)
    inputs = torch.randn(2, 3, 7)
    assert torch.allclose(pair(inputs), whole(inputs), atol=1e-6)
    assert (pair.up.bias is None) != bias and pair.down.bias is None


def test_the_pair_is_the_product() -> None:
    whole = linear(7, 5)
    pair = LowRankLinear.of(whole, 2)
    inputs = torch.randn(4, 7)
    product = pair.up.weight @ pair.down.weight
    assert torch.allclose(pair(inputs), inputs @ product.T + whole.bias, atol=1e-6)
    assert (pair.in_features, pair.out_features, pair.rank) == (7, 5, 2)
    assert count_parameters(pair) == count_nonzero(pair) == 2 * (7 + 5) + 5
    pair(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in pair.parameters())


def test_a_whole_weight_is_not_there() -> None:
    pair = copy.deepcopy(LowRankLinear(4, 3, 2))
    with pytest.raises(ModelError, match="only `down` and `up`; prune first, then factorise"):
        _ = pair.weight
    assert set(pair.state_dict()) == {"down.weight", "up.weight", "up.bias"}


@pytest.mark.parametrize("rank", [0, -1, 4])
def test_a_rank_that_cannot_be_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=rf"rank of a 3 x 4 weight must be in \[1, 3\], got {rank}"):
        LowRankLinear(4, 3, rank)
