"""What linear layers with INT8 weights share: their weights, and the form in which the processor multiplies them."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

_DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized tensor creation functions"


class IntegerLinear(nn.Module, ABC):
    """A linear layer with INT8 weights, one scale a row: entry (i, j) stands for `weight[i, j] * scale[i]`.

    Symmetric, so that a zero stays a zero. Only on a CPU, and never in training: integers have no gradient.

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

    @abstractmethod
    def multiply(self, inputs: Float[Tensor, "*rows inputs"], packed: Any) -> Float[Tensor, "*rows outputs"]:
        """Quantise the inputs (float32), multiply in integers, scale back and add the bias.

        Args:
            inputs: of any number of rows.
            packed: the weights, scales and bias.
        """

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
        return self.multiply(inputs.float(), self._packed)

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
