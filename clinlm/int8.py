"""A linear layer with INT8 weights, computed in integers on the CPU."""

import warnings
from collections.abc import Callable
from typing import Any, Self, final

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

_LARGEST = 63
"""Of a row's integers. Kernels for processors without VNNI add two products of 8 bits into 16: with inputs up to 255,
weights above 64 could overflow there, silently, and answers would depend on the machine. Torch takes the bit from the
inputs instead (`reduce_range`), which lose more by it: pooled vectors of MiniLM then have a cosine of 0.976 with those
in float32, and of 0.994 here, as with all bits of both."""
_DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized tensor creation functions"


@final
class Int8Linear(nn.Module):
    """A linear layer with INT8 weights, one scale a row, whose inputs are quantised as they come.

    Entry (i, j) stands for `weight[i, j] * scale[i]`: symmetric, so that a zero stays a zero. Every call finds the
    smallest and the largest of all its inputs (and 0), rounds them to 256 levels between, multiplies in integers and
    scales back to float32.

    Only on a CPU, and never in training: integers have no gradient.

    Args:
        in_features, out_features: as those of `nn.Linear`.
        bias: whether there is one.

    Attributes:
        weight: integers in [-63, 63].
        scale: positive, one a row. A buffer: it is no parameter of the model, and does not count as one.
        bias: in float32, or None.
    """

    weight: nn.Parameter
    scale: Tensor
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.zeros(out_features, in_features, dtype=torch.int8), requires_grad=False)
        self.register_buffer("scale", torch.ones(out_features))
        self.bias = nn.Parameter(torch.zeros(out_features), requires_grad=False) if bias else None
        self._packed: Any = None

    @classmethod
    @torch.no_grad()
    def of(cls, linear: nn.Linear) -> Self:
        """Return `linear` with its weights rounded to the nearest of 127 levels a row."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        weight, scale = quantized_rows(linear.weight)
        made.weight.copy_(weight)
        made.scale.copy_(scale)
        if made.bias is not None:
            made.bias.copy_(linear.bias)
        return made

    def dequantized(self) -> Float[Tensor, "outputs inputs"]:
        """Return the weight that the integers stand for."""
        return self.weight * self.scale[:, None]

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product in float32, whatever precision came; there is at least one dimension of rows.

        Raises:
            RuntimeError: on another device than a CPU.
        """
        if inputs.device.type != "cpu":
            raise RuntimeError(
                f"INT8 layers compute on a CPU; the inputs are on {inputs.device}; move the network with .cpu()"
            )
        if self._packed is None:
            self._packed = self._pack()
        outputs: Tensor = torch.ops.quantized.linear_dynamic(inputs.float(), self._packed, reduce_range=False)
        return outputs

    def extra_repr(self) -> str:
        """Torch's hook."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _pack(self) -> Any:
        points = torch.zeros(self.out_features, dtype=torch.long)
        with warnings.catch_warnings():
            # Packing takes torch's quantised tensors and nothing else, and from 2.13 on making one warns. Torch is
            # pinned below 2.14, so the day that they go is a day of ours.
            warnings.filterwarnings("ignore", _DEPRECATED, UserWarning)
            weight = torch._make_per_channel_quantized_tensor(self.weight.detach(), self.scale.double(), points, 0)
        return torch.ops.quantized.linear_prepack(weight, None if self.bias is None else self.bias.detach().float())

    # What is packed follows from the weights: it is made at the first call, and made anew when they change. It is a
    # handle into C++ that can neither be copied nor written.

    def _load_from_state_dict(self, *arguments: Any, **settings: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*arguments, **settings)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._packed = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}


@torch.no_grad()
def quantized_rows(
    weight: Float[Tensor, "outputs inputs"],
) -> tuple[Int8[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Return the integers and scales of a weight: the largest of every row becomes 63; a row of zeros has scale 1."""
    scale = weight.detach().abs().amax(1) / _LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (weight.detach() / scale[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8), scale
