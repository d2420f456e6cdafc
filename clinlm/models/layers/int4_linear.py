"""A linear layer with 4-bit weights, two a byte, multiplied in float."""

from typing import Self, final

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.rounding import pack_nibbles, quantize_groups, unpack_nibbles


@final
class Int4Linear(nn.Module):
    """A linear layer with 4-bit weights (-7 to 7) and a scale for every group of inputs; weights only.

    Every call unpacks the weights and multiplies in the precision of the inputs: memory is saved, not time. Never in
    training.

    Args:
        in_features, out_features: as those of `nn.Linear`.
        bias: whether there is one.
        group_size: inputs a scale, at least 1; the last group of a row may be shorter.

    Attributes:
        weight: bytes (outputs, inputs / 2, rounded up): see `clinlm.models.layers.rounding.pack_nibbles`.
        scale: positive, (outputs, groups). A buffer: it does not count as a parameter.
        bias: in float32, or None.

    Raises:
        ValueError: a group of no inputs.
    """

    weight: nn.Parameter
    scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, group_size: int = 32) -> None:
        super().__init__()
        if group_size < 1:
            raise ValueError(f"a group of INT4 weights has at least 1 input; got {group_size}")
        self.in_features, self.out_features, self.group_size = in_features, out_features, group_size
        width, groups = -(-in_features // 2), -(-in_features // group_size)
        self.weight = nn.Parameter(torch.zeros(out_features, width, dtype=torch.uint8), requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features, groups))
        self.bias = nn.Parameter(torch.zeros(out_features), requires_grad=False) if bias else None

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear, group_size: int = 32) -> Self:
        """Return `linear` with its weights rounded to the nearest of 15 levels a group."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None, group_size)
        integers, scale = quantize_groups(linear.weight, group_size)
        made.weight.copy_(pack_nibbles(integers))
        made.scale.copy_(scale)
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def integers(self) -> Int8[Tensor, "outputs inputs"]:
        """Return the weights unpacked, -7 to 7."""
        return unpack_nibbles(self.weight.detach(), self.in_features)

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        """Return the weight that the integers stand for."""
        return self.integers() * self.scale.repeat_interleave(self.group_size, 1)[:, : self.in_features]

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product in the precision of the inputs."""
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return functional.linear(inputs, self.dequantized().to(inputs.dtype), bias)

    def extra_repr(self) -> str:
        """Torch's hook."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"group_size={self.group_size}"
        )
