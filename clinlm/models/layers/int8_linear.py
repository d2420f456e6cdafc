"""A linear layer with INT8 weights whose inputs are quantised per call, computed in integers on the CPU."""

from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models.layers.base import IntegerLinear, OnnxLinear
from clinlm.models.layers.rounding import quantize_rows


@final
class Int8Linear(IntegerLinear):
    """A linear layer with INT8 weights, one scale per row, and inputs that are quantised per call.

    A call has the rows of one document: see `clinlm.models.layers.base.reads_alone`.

    Every call takes the range of all its inputs (0 included), rounds them to 256 levels, multiplies in integers and
    scales back to float32. Arguments and attributes: see `IntegerLinear`.
    """

    @classmethod
    @torch.no_grad()
    def from_float(cls, linear: nn.Linear) -> Self:
        """Return `linear` with each row of its weight rounded to 127 levels."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        weight, scale = quantize_rows(linear.weight)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight * self.scale[:, None]

    def multiply(self, inputs: Float[Tensor, "*rows inputs"], packed: Any) -> Float[Tensor, "*rows outputs"]:
        outputs: Tensor = torch.ops.quantized.linear_dynamic(inputs, packed, reduce_range=False)
        return outputs

    def onnx_module(self) -> nn.Module:
        return _Dynamic(self)


class _Dynamic(OnnxLinear):
    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        integers, scale, zero = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear",
            (inputs,),
            dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(inputs.shape, [], []),
        )
        shape = (*inputs.shape[:-1], self.weight.shape[1])
        operands = (integers, self.weight, zero)
        product = torch.onnx.ops.symbolic("MatMulInteger", operands, dtype=torch.int32, shape=shape)
        return self.add_bias(product.float() * (scale * self.scale))
