"""Integer layers: what counting, quantisation and export need to know of each, and what INT8 linear layers share.

A new integer layer is one file with one subclass of `IntegerLayer` (or of `IntegerLinear`).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clinlm.config.class_paths import class_path
from clinlm.config.errors import ModelError
from clinlm.models.model import Edit

ONNX_INT4 = "weight4"
"""Name of a buffer of an `onnx_module` that holds 4-bit integers, one per byte: export packs two per byte."""
_DEPRECATED = "torch.quantize_per_tensor, torch.quantize_per_channel and other quantized tensor creation functions"


@dataclass(frozen=True)
class Matrix:
    """A weight matrix as a network or a file holds it.

    Attributes:
        shape: both sides, the smaller first (engines transpose).
        bits: per weight.
    """

    shape: tuple[int, int]
    bits: int
    nonzero: int

    @classmethod
    def of(cls, values: np.ndarray, bits: int | None = None) -> Self:
        """Return the facts of a rank-2 array; `bits` where its type is wider than what it stores."""
        low, high = sorted(values.shape)
        return cls((low, high), bits or values.itemsize * 8, int(np.count_nonzero(values)))


class IntegerLayer(nn.Module, ABC):
    """A layer with integer weights. It cannot train: integers have no gradient.

    Attributes:
        weight: the integers as stored, perhaps packed.
        scale: positive scales. A buffer, so that it does not count as a parameter.
    """

    replaces: ClassVar[type[nn.Module]] = nn.Linear
    """Class of the float layer that it replaces: `nn.Linear` or `nn.Embedding`."""

    bits: ClassVar[int] = 8
    """Per weight, as stored."""

    integer_products: ClassVar[int] = 0
    """Matrix products per forward pass that an engine must compute in integers."""

    exact: ClassVar[bool] = False
    """Whether all engines compute this layer equally, up to float rounding, so that `Engine.tolerance` applies."""

    weight: nn.Parameter
    scale: Tensor

    @classmethod
    @abstractmethod
    def from_float(cls, *arguments: Any, **settings: Any) -> Self:
        """Return the replacement of a float layer (the first argument); values that need calibration are unset.

        The `quantize` edit calls it with `settings`, both on a trained network and on an artifact's skeleton.
        """

    @abstractmethod
    def dequantized(self) -> Float[Tensor, "rows columns"]:
        """Return the float weight that the integers represent."""

    def settings(self) -> dict[str, Any]:
        """Return the settings, as JSON, with which `from_float` builds a layer of the same form."""
        return {}

    def integers(self) -> Int[Tensor, "rows columns"]:
        """Return the integer weights, one number each, unpacked."""
        return self.weight.detach()

    def matrix(self) -> Matrix | None:
        """Return the weight matrix that an export must contain; None for a lookup table."""
        return Matrix.of(self.integers().numpy(), self.bits)

    def onnx_module(self) -> nn.Module:
        """Return a module with the same results, built from operators that torch exports to ONNX.

        Raises:
            ModelError: this layer has no ONNX form.
        """
        raise ModelError(f"{type(self).__name__} has no ONNX form; use engine=torch, or another quantize=")

    @classmethod
    @final
    def edit(cls, names: Sequence[str], **settings: Any) -> Edit:
        """Return the edit that replaces the float layers `names` by layers of this class."""
        arguments = {"layer": class_path(cls), "names": list(names), **settings}
        return Edit("clinlm.models.surgery.quantize", arguments)


def reads_alone(network: nn.Module) -> bool:
    """Return whether a network has to answer one document at a time: where it has integer linear layers.

    They round their inputs to levels (those of 4 bits do so in ONNX Runtime). In a batch, float arithmetic differs in
    its last bits, and `quantize=dynamic` takes one range for all rows; rounding turns either into a whole level. Of
    MiniLM in INT8, pooled vectors alone and in a batch of 16 differed by .11, by .02 with a range for every token, and
    by 4e-7 in float. Alone, documents took no longer (one thread, 20 to 200 tokens).
    """
    return any(isinstance(layer, IntegerLayer) and layer.replaces is nn.Linear for layer in network.modules())


class IntegerLinear(IntegerLayer):
    """A linear layer with INT8 weights and one scale per row: entry (i, j) represents `weight[i, j] * scale[i]`.

    Symmetric, so that zeros stay zeros. Runs on CPUs only.

    Args:
        in_features, out_features, bias: see `nn.Linear`.

    Attributes:
        weight: integers in [-63, 63].
        scale: positive, one per row.
        bias: float32, or None.
    """

    integer_products = 1
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
        """Quantise float32 inputs, multiply in integers, rescale and add the bias.

        Args:
            inputs: any number of rows.
            packed: weights, scales and bias in torch's kernel format.
        """

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the product in float32; inputs have at least one dimension of rows.

        Raises:
            ModelError: the inputs are not on the CPU.
        """
        if inputs.device.type != "cpu":
            raise ModelError(f"INT8 layers run on the CPU only, got inputs on {inputs.device}; call network.cpu()")
        if self._packed is None:
            self._packed = self._pack()
        return self.multiply(inputs.float(), self._packed)

    def extra_repr(self) -> str:
        """Return the shape for torch's `repr`."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _pack(self) -> Any:
        points = torch.zeros(self.out_features, dtype=torch.long)
        with warnings.catch_warnings():
            # Packing accepts only torch's quantised tensors, whose creation warns from 2.13 on. Torch is pinned below
            # 2.14, so their removal cannot surprise us.
            warnings.filterwarnings("ignore", _DEPRECATED, UserWarning)
            weight = torch._make_per_channel_quantized_tensor(self.weight.detach(), self.scale.double(), points, 0)
        return torch.ops.quantized.linear_prepack(weight, None if self.bias is None else self.bias.detach().float())

    # The packed weights are a C++ handle that can be neither copied nor saved: it is built at the first call, and again
    # after the weights change.

    def _load_from_state_dict(self, *arguments: Any, **settings: Any) -> None:
        self._packed = None
        super()._load_from_state_dict(*arguments, **settings)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._packed = None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_packed": None}


class OnnxLinear(nn.Module):
    """Buffers of an INT8 linear layer for export: weights with the inputs first, as MatMul expects."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: IntegerLinear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().T.contiguous())
        self.register_buffer("scale", layer.scale.detach().float())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())

    def add_bias(self, product: Tensor) -> Tensor:
        """Return the product plus the bias, if there is one."""
        return product if self.bias is None else product + self.bias
