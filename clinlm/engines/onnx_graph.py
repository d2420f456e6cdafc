"""A model as an ONNX graph whose integers are integers: what ONNX Runtime and OpenVINO are given."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from clinlm.models.layers.base import IntegerLinear
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.model import Model, Network, Pooling, masked_mean

OPSET = 21
"""The first with blocked 4-bit weights."""

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "logits"
_symbolic = torch.onnx.ops.symbolic


def export_onnx(model: Model, path: Path) -> None:
    """Write the network as one ONNX file: inputs `input_ids` and `attention_mask`, rows x tokens; output `logits`.

    Linear layers in INT8 become `QuantizeLinear`/`DequantizeLinear` pairs around `MatMul` where the range of their
    inputs is fixed, which engines turn into products of integers; where it is not, `DynamicQuantizeLinear` with
    `MatMulInteger`; those in INT4 `DequantizeLinear` in blocks. Attention is written out: engines then fuse it
    themselves, and answer 1.2 times faster than from torch's `scaled_dot_product_attention` (OpenVINO, 128 tokens).
    """
    network = copy.deepcopy(model.network).eval()
    body: Any = network.body
    if hasattr(body, "set_attn_implementation"):
        body.set_attn_implementation("eager")
    _translate(network)
    rows, tokens = torch.export.Dim("rows", min=1, max=65536), torch.export.Dim("tokens", min=1, max=model.max_tokens)
    # Two tensors: of one and the same, the exporter would make one input.
    ids, mask = (torch.ones(2, min(16, model.max_tokens), dtype=torch.long) for _ in range(2))
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (ids, mask),
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=({0: rows, 1: tokens}, {0: rows, 1: tokens}),
            opset_version=OPSET,
            external_data=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    _finish(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself: torchvision is not there, names were renamed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _translate(network: Network) -> None:
    for name, module in list(network.named_modules()):
        made = _translated(module)
        if made is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, made)


def _translated(module: nn.Module) -> nn.Module | None:
    if isinstance(module, StaticInt8Linear):
        return _Static(module)
    if isinstance(module, IntegerLinear):
        return _Dynamic(module)
    if isinstance(module, Int4Linear):
        return _Blocked(module)
    if isinstance(module, Pooling) and module.name in ("max", "max_mean"):
        return _Largest(module.name == "max_mean")
    return _Table(module) if isinstance(module, Int8Embedding) else None


class _Largest(nn.Module):
    """Max pooling, alone or with the mean behind it: its result a reshape away from the reduction.

    OpenVINO computes the quantisation of the head's inputs within a reduction that stands right before it, wrongly:
    logits up to 4.2 were off by 1.2, and with a reshape between the two by 5e-7 (2026.4, a Xeon with AVX512-VNNI).
    """

    def __init__(self, with_mean: bool) -> None:
        super().__init__()
        self.with_mean = with_mean

    def forward(
        self, hidden: Float[Tensor, "rows tokens hidden"], mask: Int[Tensor, "rows tokens"]
    ) -> Float[Tensor, "rows parts_x_hidden"]:
        keep = mask.unsqueeze(-1).to(hidden.dtype)
        lowest = torch.finfo(hidden.dtype).min
        largest = hidden.masked_fill(keep == 0, lowest).amax(1, keepdim=True).squeeze(1)
        return torch.cat([largest, masked_mean(hidden, keep)], -1) if self.with_mean else largest


class _Integers(nn.Module):
    """Weights of an INT8 layer, inputs first, as MatMul wants them."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: IntegerLinear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().T.contiguous())
        self.register_buffer("scale", layer.scale.detach().float())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())

    def plus_bias(self, product: Tensor) -> Tensor:
        return product if self.bias is None else product + self.bias


class _Static(_Integers):
    """Inputs whose range is known."""

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
        values = inputs if self.smooth is None else inputs * self.smooth
        range_ = (self.input_scale, self.input_zero)
        integers = _symbolic("QuantizeLinear", (values, *range_), dtype=torch.uint8, shape=inputs.shape)
        values = _symbolic("DequantizeLinear", (integers, *range_), dtype=torch.float32, shape=inputs.shape)
        weight = _symbolic(
            "DequantizeLinear",
            (self.weight, self.scale, self.zero),
            attrs={"axis": 1},
            dtype=torch.float32,
            shape=self.weight.shape,
        )
        return self.plus_bias(torch.matmul(values, weight))


class _Dynamic(_Integers):
    """Inputs whose range is found at every call."""

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        integers, scale, zero = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear",
            (inputs,),
            dtypes=(torch.uint8, torch.float32, torch.uint8),
            shapes=(inputs.shape, [], []),
        )
        shape = (*inputs.shape[:-1], self.weight.shape[1])
        product = _symbolic("MatMulInteger", (integers, self.weight, zero), dtype=torch.int32, shape=shape)
        return self.plus_bias(product.float() * (scale * self.scale))


class _Blocked(nn.Module):
    """Weights in 4 bits, a scale for every block of inputs; stored here a byte each, see `_finish`."""

    weight4: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: Int4Linear) -> None:
        super().__init__()
        integers, scale = layer.integers(), layer.scale.detach().float()
        groups = scale.shape[1]
        whole = functional.pad(integers, (0, groups * layer.group_size - layer.in_features))
        self.register_buffer("weight4", whole.T.contiguous())
        self.register_buffer("scale", scale.T.contiguous())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())
        self.group_size, self.room = layer.group_size, whole.shape[1] - layer.in_features

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        weight = _symbolic(
            "DequantizeLinear",
            (self.weight4, self.scale),
            attrs={"axis": 0, "block_size": self.group_size},
            dtype=torch.float32,
            shape=self.weight4.shape,
        )
        values = functional.pad(inputs, (0, self.room)) if self.room else inputs
        product = torch.matmul(values, weight)
        return product if self.bias is None else product + self.bias


class _Table(nn.Module):
    """Rows of integers, scaled once they are looked up."""

    weight: Tensor
    scale: Tensor

    def __init__(self, table: Int8Embedding) -> None:
        super().__init__()
        self.register_buffer("weight", table.weight.detach())
        self.register_buffer("scale", table.scale.detach().float()[:, None].contiguous())

    def forward(self, ids: Tensor) -> Tensor:
        return functional.embedding(ids, self.weight).float() * functional.embedding(ids, self.scale)


def _finish(path: Path) -> None:
    """Drop what the exporter tells of itself (stack traces, of some 300 kB), and store 4-bit weights two a byte.

    Torch has no type of 4 bits to export them in. Types of inner values still speak of 8 bits then, and go too.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")
    del graph.value_info[:]
    for place, tensor in enumerate(graph.initializer):
        if "weight4" in tensor.name and tensor.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(tensor).reshape(-1)
            even = np.append(values, np.zeros(values.size % 2, dtype=np.int8)) & 15
            made = onnx.TensorProto(name=tensor.name, data_type=onnx.TensorProto.INT4, dims=tensor.dims)
            made.raw_data = (even[0::2] | (even[1::2] << 4)).astype(np.uint8).tobytes()
            graph.initializer[place].CopyFrom(made)
    onnx.save(model, path)
