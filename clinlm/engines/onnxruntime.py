"""ONNX Runtime."""

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from clinlm.config.extras import imported
from clinlm.engines.base import ONNX, OUTPUT, Answer, Engine, Logits, Rows

if TYPE_CHECKING:
    from clinlm.models.layers.base import Matrix
    from clinlm.models.model import Model

_INTEGER = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm")
_WITHOUT = ["MatMulAddFusion"]
"""An optimiser that turns a product with a bias into a float Gemm before integer products are recognised."""


@final
class Onnxruntime(Engine):
    """ONNX Runtime on the CPU: one file `model.onnx`, which `optimum` and other ONNX tools read too."""

    name = "onnxruntime"
    reads_onnx = True
    files = (ONNX,)

    def missing(self) -> str:
        needed = ("onnx", "onnxscript", "onnxruntime")
        return ", ".join(package for package in needed if importlib.util.find_spec(package) is None)

    def version(self) -> str:
        return str(imported("onnxruntime", "onnxruntime").__version__)

    def export(self, model: "Model", folder: Path) -> None:
        from clinlm.engines.onnx_graph import export_onnx  # here: only export needs torch

        imported("onnx", "onnxruntime")
        export_onnx(model, folder / ONNX)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        session = _session(folder, threads)

        def answer(input_ids: Rows, attention_mask: Rows) -> Logits:
            logits: Logits = session.run([OUTPUT], {"input_ids": input_ids, "attention_mask": attention_mask})[0]
            return logits

        return answer

    def matrices(self, folder: Path) -> "list[Matrix]":
        return list(_matrices(imported("onnx", "onnxruntime"), folder / ONNX))

    def integer_products(self, folder: Path) -> int:
        """See `Engine.integer_products`: counted in the graph that ONNX Runtime optimised for this processor."""
        onnx = imported("onnx", "onnxruntime")
        with tempfile.TemporaryDirectory() as place:
            optimised = Path(place) / ONNX
            _session(folder, 1, optimised)
            graph = onnx.load(optimised).graph
        return sum(node.op_type in _INTEGER for node in graph.node)


def _session(folder: Path, threads: int | None, optimised: Path | None = None) -> Any:
    ort = imported("onnxruntime", "onnxruntime")
    ort.disable_telemetry_events()  # of Windows; elsewhere only a variable does: see `clinlm.config.telemetry`
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while waiting, for tens of milliseconds, take the cores from other work of the process.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(
        str(folder / ONNX), options, providers=["CPUExecutionProvider"], disabled_optimizers=_WITHOUT
    )


def _matrices(onnx: Any, path: Path) -> "Iterator[Matrix]":
    from clinlm.models.layers.base import Matrix

    graph = onnx.load(path).graph
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    for tensor in graph.initializer:
        if len(tensor.dims) == 2 and tensor.name not in looked_up:
            four = tensor.data_type == onnx.TensorProto.INT4
            values = np.asarray(onnx.numpy_helper.to_array(tensor))
            yield Matrix.of(values.astype(np.int8) if four else values, 4 if four else None)
