"""A linear layer with INT8 weights and inputs that are quantised as they come, computed in integers on the CPU."""

from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models.layers.base import IntegerLinear
from clinlm.models.layers.rounding import quantize_rows


@final
class Int8Linear(IntegerLinear):
    """A linear layer with INT8 weights, one scale a row, whose inputs are quantised as they come.

    Every call finds the smallest and the largest of all its inputs (and 0), rounds them to 256 levels between,
    multiplies in integers and scales back to float32. Arguments and attributes: see `IntegerLinear`.
    """

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear) -> Self:
        """Return `linear` with its weights rounded to the nearest of 127 levels a row."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        weight, scale = quantize_rows(linear.weight)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        """Return the weight that the integers stand for."""
        return self.weight * self.scale[:, None]

    def multiply(self, inputs: Float[Tensor, "*rows inputs"], packed: Any) -> Float[Tensor, "*rows outputs"]:
        """See `IntegerLinear.multiply`."""
        outputs: Tensor = torch.ops.quantized.linear_dynamic(inputs, packed, reduce_range=False)
        return outputs
