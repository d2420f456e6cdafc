"""A linear layer with INT8 weights and a calibrated input range, computed in integers on the CPU."""

from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models.layers.base import IntegerLinear, OnnxLinear
from clinlm.models.layers.rounding import quantize_rows


@final
class StaticInt8Linear(IntegerLinear):
    """A linear layer with INT8 weights, one scale per row, and inputs on 256 levels fixed by calibration.

    Level q (0 to 255) represents the input `(q - input_zero_point) * input_scale`; inputs outside the range are
    clipped. With `smooth`, inputs are multiplied by it first, and the integers represent the weight divided by it
    (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438): the product is the same, and channels with outliers leave more
    levels to the others.

    Args:
        in_features, out_features, bias: see `IntegerLinear`.

    Attributes:
        weight, scale, bias: see `IntegerLinear`.
        input_scale: one positive number; NaN until it is set.
        input_zero_point: an integer from 0 to 255.
        smooth: positive, one per input; or None.
    """

    input_scale: Tensor
    input_zero_point: Tensor
    smooth: Tensor | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True, smoothed: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("input_scale", torch.tensor(torch.nan))
        self.register_buffer("input_zero_point", torch.tensor(0, dtype=torch.int32))
        self.register_buffer("smooth", torch.ones(in_features) if smoothed else None)

    @classmethod
    def from_float(cls, linear: nn.Linear, smoothed: bool = False) -> Self:
        """Return a layer of the shape of `linear` whose values are unset: they need calibration, see `calibrated`."""
        return cls(linear.in_features, linear.out_features, linear.bias is not None, smoothed)

    @classmethod
    @torch.no_grad()
    def calibrated(
        cls,
        linear: nn.Linear,
        input_scale: float,
        input_zero_point: int,
        smooth: Float[Tensor, " inputs"] | None = None,
    ) -> Self:
        """Return `linear` with each row of its weight (divided by `smooth`) rounded to 127 levels.

        Args:
            input_scale, input_zero_point: of its inputs, after multiplication by `smooth`.
            smooth: factors of the inputs; None for none.
        """
        weight = linear.weight if smooth is None else linear.weight / smooth
        return cls.from_rows(*quantize_rows(weight), linear.bias, input_scale, input_zero_point, smooth)

    @classmethod
    @torch.no_grad()
    def from_rows(
        cls,
        weight: Tensor,
        scale: Float[Tensor, " outputs"],
        bias: Float[Tensor, " outputs"] | None,
        input_scale: float,
        input_zero_point: int,
        smooth: Float[Tensor, " inputs"] | None = None,
    ) -> Self:
        """Return the layer with these integers and scales; arguments: see the attributes."""
        made = cls(weight.shape[1], weight.shape[0], bias is not None, smooth is not None)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        if made.bias is not None and bias is not None:
            made.bias.copy_(bias)
        if made.smooth is not None and smooth is not None:
            made.smooth.copy_(smooth)
        made.input_scale.fill_(input_scale)
        made.input_zero_point.fill_(input_zero_point)
        return made

    def settings(self) -> dict[str, Any]:
        return {"smoothed": self.smooth is not None}

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        weight = self.weight * self.scale[:, None]
        return weight if self.smooth is None else weight * self.smooth

    def multiply(self, inputs: Float[Tensor, "*rows inputs"], packed: Any) -> Float[Tensor, "*rows outputs"]:
        smoothed = inputs if self.smooth is None else inputs * self.smooth
        scale, point = float(self.input_scale), int(self.input_zero_point)
        outputs: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            smoothed, scale, point, packed
        )
        return outputs

    def onnx_module(self) -> nn.Module:
        return _Static(self)


class _Static(OnnxLinear):
    smooth: Tensor | None
    input_scale: Tensor
    input_zero: Tensor
    zero: Tensor

    def __init__(self, layer: StaticInt8Linear) -> None:
        super().__init__(layer)
        self.register_buffer("smooth", None if layer.smooth is None else layer.smooth.detach().float())
        self.register_buffer("input_scale", layer.input_scale.detach().float())
        self.register_buffer("input_zero", layer.input_zero_point.detach().to(torch.uint8))
        self.register_buffer("zero", torch.zeros(layer.out_features, dtype=torch.int8))

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        symbolic = torch.onnx.ops.symbolic
        values = inputs if self.smooth is None else inputs * self.smooth
        levels = (self.input_scale, self.input_zero)
        integers = symbolic("QuantizeLinear", (values, *levels), dtype=torch.uint8, shape=inputs.shape)
        values = symbolic("DequantizeLinear", (integers, *levels), dtype=torch.float32, shape=inputs.shape)
        rows = (self.weight, self.scale, self.zero)
        shape = self.weight.shape
        weight = symbolic("DequantizeLinear", rows, attrs={"axis": 1}, dtype=torch.float32, shape=shape)
        return self.add_bias(torch.matmul(values, weight))
