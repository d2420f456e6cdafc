"""Integers simulated in float while a network trains: what rounds, and how it stands in the network."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from clinlm.compression.calibration import token_inputs
from clinlm.compression.keep_zeros import KeepZeros
from clinlm.models.layers.rounding import LEVELS, TABLES, WEIGHTS, input_levels, row_scales

_AVERAGE = 0.01  # the share of a new batch in the range of inputs; that of torch's MovingAverageMinMaxObserver
_INPUTS = "input_levels"


class FakeQuantizeRows(nn.Module):
    """A parametrization that rounds every row to the levels of its INT8 layer; gradients pass as if it did not.

    Source: Bengio et al. 2013, arXiv:1308.3432: the straight-through estimator.
    """

    def forward(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return what the integers of `weight` stand for."""
        return fake_quantize_rows(weight, WEIGHTS)


class FakeQuantizeInputs(nn.Module):
    """Rounds inputs of a linear layer to 256 levels over a range that follows what training shows, until it is frozen.

    Gradients pass inside the range, and not beyond it. All of its state is in buffers: it travels in checkpoints.

    Args:
        low, high: the range to begin with.

    Attributes:
        low, high: moving averages of the smallest and largest input of a batch, padding left out.
        frozen: whether they stay as they are.
        mask: of the batch, true where there is a token.
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
        """Return the levels' values, in float32; in training, first move the range."""
        if self.training:
            self._follow(token_inputs(inputs.detach(), self.mask))
        scale, point = self.levels()
        return torch.fake_quantize_per_tensor_affine(inputs.float(), scale, point, 0, LEVELS)

    def levels(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point."""
        return input_levels(self.low, self.high)

    @torch.no_grad()
    def _follow(self, inputs: Float[Tensor, "tokens inputs"]) -> None:
        share = _AVERAGE * ~self.frozen
        self.low.lerp_(inputs.amin().float(), share)
        self.high.lerp_(inputs.amax().float(), share)


def fake_quantize_rows(rows: Float[Tensor, "*places columns"], largest: int) -> Float[Tensor, "*places columns"]:
    """Return every row rounded to `largest` levels on either side of 0; the gradient is that of the identity."""
    scale = row_scales(rows, largest).unsqueeze(-1)
    return rows + ((rows / scale).round().clamp(-largest, largest) * scale - rows).detach()


def attach(
    network: nn.Module, layers: Mapping[str, nn.Module], spans: Mapping[str, tuple[float, float]]
) -> list[RemovableHandle]:
    """Make linear layers and tables of the network compute as their INT8 layers would; returns handles for `detach`.

    Args:
        network: has the layers; is called with token ids and attention mask.
        layers: linear layers and embedding tables by name. Exact zeros of a weight stay zero: they were pruned.
        spans: the range of every linear layer's inputs to begin with.
    """
    handles = [network.register_forward_pre_hook(_show_mask)]
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
    """Make them plain layers again, with the float weights that they learnt; returns the levels of inputs by name."""
    for handle in handles:
        handle.remove()
    found = {}
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            scale, point = input_quantizer(layer).levels()
            found[name] = (float(scale), int(point))
            delattr(layer, _INPUTS)
            learnt = _learnt(layer)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            layer.weight.copy_(learnt)
    return found


def input_quantizer(layer: nn.Module) -> FakeQuantizeInputs:
    """Return what rounds the inputs of a linear layer."""
    levels = getattr(layer, _INPUTS)
    assert isinstance(levels, FakeQuantizeInputs)
    return levels


def _learnt(layer: nn.Linear) -> Tensor:
    """The float weight, pruned zeros in it, before it is rounded."""
    chain = layer.get_submodule("parametrizations.weight")
    weight = chain.get_parameter("original").detach().clone()
    for mask in (one for one in chain.children() if isinstance(one, KeepZeros)):
        weight = mask(weight)
    return weight


# Hooks reach what they need through the module that calls them, so that a copy of a network has its own.


def _show_mask(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    mask = inputs[1].bool()
    for module in network.modules():
        if isinstance(module, FakeQuantizeInputs):
            module.mask = mask


def _round_inputs(layer: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return input_quantizer(layer)(inputs[0])


def _round_rows(table: nn.Module, inputs: tuple[Tensor, ...], rows: Tensor) -> Tensor:
    return fake_quantize_rows(rows, TABLES)
