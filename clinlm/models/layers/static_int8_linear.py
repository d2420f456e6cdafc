"""A linear layer with INT8 weights and inputs whose range was fixed beforehand, computed in integers on the CPU."""

from typing import Any, Self, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clinlm.models.layers.base import IntegerLinear
from clinlm.models.layers.rounding import quantize_rows


@final
class StaticInt8Linear(IntegerLinear):
    """A linear layer with INT8 weights, one scale a row, for inputs on 256 levels that calibration has fixed.

    Level q (0 to 255) stands for the input `(q - input_zero_point) * input_scale`; inputs beyond the first and the last
    level are clipped. Where `smooth` is there, inputs are multiplied by it first, and the integers stand for the weight
    divided by it (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438): the product is the same, and channels with outliers
    leave the others more levels.

    Args:
        in_features, out_features, bias: see `IntegerLinear`.
        smoothed: whether there is `smooth`.

    Attributes:
        weight, scale, bias: see `IntegerLinear`.
        input_scale: one positive number; NaN until it is set.
        input_zero_point: one integer from 0 to 255.
        smooth: positive, one an input; or None.
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
    @torch.no_grad()
    def of(
        cls,
        linear: nn.Linear,
        input_scale: float,
        input_zero_point: int,
        smooth: Float[Tensor, " inputs"] | None = None,
    ) -> Self:
        """Return `linear` with its weights (divided by `smooth`) rounded to the nearest of 127 levels a row.

        Args:
            linear: in float.
            input_scale, input_zero_point: of its inputs, after they were multiplied by `smooth`.
            smooth: what inputs are multiplied by.
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
        """Return the layer of these integers and scales; arguments as the attributes."""
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

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        """Return the weight that integers, scale and `smooth` stand for together: that of the float layer."""
        weight = self.weight * self.scale[:, None]
        return weight if self.smooth is None else weight * self.smooth

    def multiply(self, inputs: Float[Tensor, "*rows inputs"], packed: Any) -> Float[Tensor, "*rows outputs"]:
        """See `IntegerLinear.multiply`."""
        smoothed = inputs if self.smooth is None else inputs * self.smooth
        scale, point = float(self.input_scale), int(self.input_zero_point)
        outputs: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            smoothed, scale, point, packed
        )
        return outputs
