"""Export of a model to an ONNX graph with integer weights, for ONNX Runtime and OpenVINO."""

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

from clinlm.config.errors import ModelError
from clinlm.engines.base import OUTPUT
from clinlm.models.layers.base import ONNX_INT4, IntegerLayer
from clinlm.models.layers.half_linear import ONNX_HALF
from clinlm.models.model import Model, Network, Pooling, masked_mean
from clinlm.models.surgery import replace_module

OPSET = 21
"""The first opset with blocked 4-bit weights."""

INPUTS = ("input_ids", "attention_mask")


def export_onnx(model: Model, path: Path) -> None:
    """Write the network as one ONNX file: inputs `input_ids` and `attention_mask`, rows x tokens; output `logits`.

    Integer layers export as their `onnx_module`. Attention is exported eagerly: engines fuse it themselves and are 1.2
    times faster than with torch's `scaled_dot_product_attention` (OpenVINO, 128 tokens).

    Raises:
        ModelError: an integer layer has no ONNX form, or torch cannot export an operation of the network.
    """
    network = copy.deepcopy(model.network).eval()
    body: Any = network.body
    if hasattr(body, "set_attn_implementation"):
        body.set_attn_implementation("eager")
    _translate(network)
    rows, tokens = torch.export.Dim("rows", min=1, max=65536), torch.export.Dim("tokens", min=1, max=model.max_tokens)
    # Two tensors: the exporter would merge one tensor into one input.
    ids, mask = (torch.ones(2, min(16, model.max_tokens), dtype=torch.long) for _ in range(2))
    with _quiet(), torch.no_grad():
        try:
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
        except torch.onnx.OnnxExporterError as error:
            raise ModelError(
                f"a network must have operations that torch exports to ONNX, {type(body).__name__} has others; use "
                "engine=torch, or a model of another family"
            ) from error
    assert program is not None
    program.save(str(path), external_data=False)
    _finish(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notices, for example that torchvision is missing."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _translate(network: Network) -> None:
    """Replace integer layers and max pooling by modules that torch exports as intended."""
    for name, module in list(network.named_modules()):
        if isinstance(module, IntegerLayer):
            replace_module(network, name, module.onnx_module())
        elif isinstance(module, Pooling) and module.name in ("max", "max_mean"):
            replace_module(network, name, _MaxPooling(module.name == "max_mean"))


class _MaxPooling(nn.Module):
    """Max pooling, alone or with the mean, with a reshape after the reduction.

    OpenVINO fuses the quantisation of the head's inputs into a reduction directly before it, wrongly: logits up to 4.2
    were off by 1.2, and with a reshape between the two by 5e-7 (2026.4, a Xeon with AVX512-VNNI).
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


def _finish(path: Path) -> None:
    """Remove the exporter's metadata (300 kB of stack traces); store 4-bit weights two per byte, and halves as such.

    Torch has no 4-bit type to export. The types of inner values would still be of 8 bits, so they are removed too.
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
        if ONNX_INT4 in tensor.name and tensor.data_type == onnx.TensorProto.INT8:
            values = numpy_helper.to_array(tensor).reshape(-1)
            even = np.append(values, np.zeros(values.size % 2, dtype=np.int8)) & 15
            made = onnx.TensorProto(name=tensor.name, data_type=onnx.TensorProto.INT4, dims=tensor.dims)
            made.raw_data = (even[0::2] | (even[1::2] << 4)).astype(np.uint8).tobytes()
            graph.initializer[place].CopyFrom(made)
        elif ONNX_HALF in tensor.name and tensor.data_type == onnx.TensorProto.FLOAT:
            stored, widened = f"{tensor.name}_stored", tensor.name
            values = numpy_helper.to_array(tensor).astype(np.float16)
            graph.initializer[place].CopyFrom(numpy_helper.from_array(values, stored))
            graph.node.insert(0, onnx.helper.make_node("Cast", [stored], [widened], to=onnx.TensorProto.FLOAT))
    onnx.save(model, path)
