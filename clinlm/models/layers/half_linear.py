"""A linear layer whose weights are stored in half precision."""

from typing import Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.rounding import halves

ONNX_HALF = "weight16"
"""Name of a buffer of an `onnx_module` that holds halves in float32: export stores 16 bits, and widens them again. A
widening that is in the network already would be computed by the exporter where a matrix is small."""


@final
class HalfLinear(IntegerLayer):
    """A linear layer with weights in float16, which are widened to float32 at every call; the bias stays float32.

    Two bytes a weight, and products as of the float layer: float16 sums of hundreds of terms would lose digits, and
    processors without float16 arithmetic are slower in it. The halves are stored as the integers of their bits, so that
    nothing takes them for weights that can be trained.

    Args:
        in_features, out_features, bias: see `nn.Linear`.

    Attributes:
        weight: the bits of float16 numbers, as int16.
        bias: float32, or None.
    """

    bits = 16
    exact = True
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int16), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(out_features), requires_grad=False) if bias else None

    @classmethod
    @torch.no_grad()
    def from_float(cls, linear: nn.Linear) -> Self:
        """Return `linear` with its weight rounded to float16.

        Raises:
            ModelError: see `halves`.
        """
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        made.weight.copy_(halves(linear.weight).view(torch.int16))
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        return self.integers().float()

    def integers(self) -> Float[Tensor, "rows columns"]:
        """Return the weights in float16: one number each."""
        return self.weight.detach().view(torch.float16)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product in float32."""
        return functional.linear(inputs.float(), self.dequantized(), self.bias)

    def onnx_module(self) -> nn.Module:
        return _Widened(self)

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class _Widened(nn.Module):
    """The product of float32; export stores the weight in 16 bits: see `ONNX_HALF`."""

    bias: Tensor | None

    def __init__(self, layer: HalfLinear) -> None:
        super().__init__()
        self.register_buffer(ONNX_HALF, layer.dequantized().T.contiguous())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        product = inputs.float() @ self.get_buffer(ONNX_HALF)
        return product if self.bias is None else product + self.bias
