"""Quantisation-aware training: layers that compute in float as their integer versions will."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from clinlm.compression.masks import KeepZeros
from clinlm.compression.observation import token_inputs
from clinlm.models.layers.rounding import LEVELS, TABLES, WEIGHTS, input_levels, row_scales
from clinlm.training.ranks import largest

_AVERAGE = 0.01  # weight of a new batch in the input range, as in torch's MovingAverageMinMaxObserver
_INPUTS = "input_levels"


class FakeQuantizeRows(nn.Module):
    """A parametrization that rounds every row to the levels of its INT8 layer; gradients pass unchanged.

    Source: Bengio et al. 2013, arXiv:1308.3432: the straight-through estimator.
    """

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the weight rounded to its levels."""
        return fake_quantize_rows(weight, WEIGHTS)


class FakeQuantizeInputs(nn.Module):
    """Rounds inputs of a linear layer to 256 levels over a range that follows the batches until it is frozen.

    Gradients pass inside the range only. All state is in buffers, so that checkpoints contain it.

    Attributes:
        low, high: moving averages of minimum and maximum of a batch, without padding.
        frozen: whether they are fixed.
        mask: of the batch, true on tokens.
    """

    low: Tensor
    high: Tensor
    frozen: Tensor

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))
        self.register_buffer("frozen", torch.tensor(False))
        self.mask = torch.empty(0)

    def forward(self, inputs: Float[Tensor, "*places inputs"]) -> Float[Tensor, "*places inputs"]:
        """Return the inputs rounded to levels, in float32; in training, update the range first."""
        if self.training:
            self._update(token_inputs(inputs.detach(), self.mask))
        scale, point = self.levels()
        return torch.fake_quantize_per_tensor_affine(inputs.float(), scale, point, 0, LEVELS)

    def levels(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point."""
        return input_levels(self.low, self.high)

    @torch.no_grad()
    def _update(self, inputs: Float[Tensor, "tokens inputs"]) -> None:
        share = _AVERAGE * ~self.frozen
        low, high = largest(torch.stack([-inputs.amin(), inputs.amax()]).float())  # of the documents of all ranks
        self.low.lerp_(-low, share)
        self.high.lerp_(high, share)


def fake_quantize_rows(rows: Float[Tensor, "*places columns"], largest: int) -> Float[Tensor, "*places columns"]:
    """Return every row rounded to `largest` levels on either side of 0; the gradient is that of the identity."""
    scale = row_scales(rows, largest).unsqueeze(-1)
    return rows + ((rows / scale).round().clamp(-largest, largest) * scale - rows).detach()


def attach(
    network: nn.Module, layers: Mapping[str, nn.Module], spans: Mapping[str, tuple[float, float]]
) -> list[RemovableHandle]:
    """Make linear layers and tables compute as their INT8 versions; return the handles for `detach`.

    Args:
        network: has the layers; is called with token ids and attention mask.
        layers: linear layers and embedding tables by name. Exact zeros of a weight were pruned and stay zero.
        spans: initial input range of every linear layer.
    """
    handles = [network.register_forward_pre_hook(_set_mask)]
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            layer.add_module(_INPUTS, FakeQuantizeInputs(*spans[name]).train(layer.training))
            handles.append(layer.register_forward_pre_hook(_round_inputs))
            if bool((layer.weight == 0).any()):
                parametrize.register_parametrization(layer, "weight", KeepZeros(layer.weight.detach() != 0))
            parametrize.register_parametrization(layer, "weight", FakeQuantizeRows())
        else:
            handles.append(layer.register_forward_hook(_round_rows))
    return handles


@torch.no_grad()
def detach(layers: Mapping[str, nn.Module], handles: list[RemovableHandle]) -> dict[str, tuple[float, int]]:
    """Make them plain layers with their learnt float weights; return input scale and zero point by name."""
    for handle in handles:
        handle.remove()
    found = {}
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            scale, point = input_quantizer(layer).levels()
            found[name] = (float(scale), int(point))
            delattr(layer, _INPUTS)
            learnt = _unrounded(layer)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            layer.weight.copy_(learnt)
    return found


def input_quantizer(layer: nn.Module) -> FakeQuantizeInputs:
    """Return the module that rounds the inputs of a linear layer."""
    quantizer = getattr(layer, _INPUTS)
    assert isinstance(quantizer, FakeQuantizeInputs)
    return quantizer


def _unrounded(layer: nn.Linear) -> Tensor:
    """Return the float weight before rounding, with its pruned zeros."""
    chain = layer.get_submodule("parametrizations.weight")
    weight = chain.get_parameter("original").detach().clone()
    for mask in (part for part in chain.children() if isinstance(part, KeepZeros)):
        weight = mask(weight)
    return weight


# Hooks use the module that calls them, so that a copy of a network has its own state.


def _set_mask(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    mask = inputs[1].bool()
    for module in network.modules():
        if isinstance(module, FakeQuantizeInputs):
            module.mask = mask


def _round_inputs(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return input_quantizer(layer)(inputs[0])


def _round_rows(table: nn.Module, inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor:
    return fake_quantize_rows(rows, TABLES)
