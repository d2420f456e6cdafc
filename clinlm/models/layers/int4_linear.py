"""A linear layer with 4-bit weights, two per byte, multiplied in float."""

from typing import Any, Self, final

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional

from clinlm.config.ranges import check_at_least
from clinlm.models.layers.base import ONNX_INT4, IntegerLayer, Matrix
from clinlm.models.layers.rounding import pack_nibbles, quantize_groups, unpack_nibbles


@final
class Int4Linear(IntegerLayer):
    """A linear layer with 4-bit weights (-7 to 7) and one scale per group of inputs; inputs stay float.

    Every call unpacks the weights and multiplies in the precision of the inputs: it saves memory, not time.

    Args:
        in_features, out_features, bias: see `nn.Linear`.
        group_size: inputs per scale, at least 1; the last group of a row may be shorter.

    Attributes:
        weight: bytes (outputs, ceil(inputs / 2)): see `clinlm.models.layers.rounding.pack_nibbles`.
        scale: positive, (outputs, groups).
        bias: float32, or None.

    Raises:
        ConfigError: `group_size` below 1.
    """

    bits = 4
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, group_size: int = 32) -> None:
        super().__init__()
        check_at_least("group_size", group_size, 1)
        self.in_features, self.out_features, self.group_size = in_features, out_features, group_size
        width, groups = -(-in_features // 2), -(-in_features // group_size)
        self.weight = nn.Parameter(torch.zeros(out_features, width, dtype=torch.uint8), requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features, groups))
        self.bias = nn.Parameter(torch.zeros(out_features), requires_grad=False) if bias else None

    @classmethod
    @torch.no_grad()
    def from_float(cls, linear: nn.Linear, group_size: int = 32) -> Self:
        """Return `linear` with each group of weights rounded to 15 levels."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None, group_size)
        integers, scale = quantize_groups(linear.weight, group_size)
        made.weight.copy_(pack_nibbles(integers))
        made.scale.copy_(scale)
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def settings(self) -> dict[str, Any]:
        return {"group_size": self.group_size}

    def integers(self) -> Int8[Tensor, "outputs inputs"]:
        return unpack_nibbles(self.weight.detach(), self.in_features)

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        return self.integers() * self.scale.repeat_interleave(self.group_size, 1)[:, : self.in_features]

    def matrix(self) -> Matrix:
        """See `IntegerLayer.matrix`: engines pad the last group of a row with zeros."""
        low, high = sorted((self.scale.shape[1] * self.group_size, self.out_features))
        return Matrix((low, high), self.bits, int(self.integers().count_nonzero()))

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product in the precision of the inputs."""
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return functional.linear(inputs, self.dequantized().to(inputs.dtype), bias)

    def onnx_module(self) -> nn.Module:
        return _Blocked(self)

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"group_size={self.group_size}"
        )


class _Blocked(nn.Module):
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int4Linear) -> None:
        super().__init__()
        integers, scale = layer.integers(), layer.scale.detach().float()
        groups = scale.shape[1]
        padded = functional.pad(integers, (0, groups * layer.group_size - layer.in_features))
        self.register_buffer(ONNX_INT4, padded.T.contiguous())
        self.register_buffer("scale", scale.T.contiguous())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())
        self.group_size, self.padding = layer.group_size, padded.shape[1] - layer.in_features

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        integers = self.get_buffer(ONNX_INT4)
        weight = torch.onnx.ops.symbolic(
            "DequantizeLinear",
            (integers, self.scale),
            attrs={"axis": 0, "block_size": self.group_size},
            dtype=torch.float32,
            shape=integers.shape,
        )
        values = functional.pad(inputs, (0, self.padding)) if self.padding else inputs
        product = torch.matmul(values, weight)
        return product if self.bias is None else product + self.bias
