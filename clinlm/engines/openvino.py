"""OpenVINO."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from clinlm.config.extras import imported
from clinlm.engines.base import ONNX, Answer, Engine, Logits, Rows

if TYPE_CHECKING:
    from clinlm.models.layers.base import Matrix
    from clinlm.models.model import Model

FILE = "openvino_model.xml"
_EIGHT = ("int8_t", "uint8_t", "i8", "u8")


@final
class Openvino(Engine):
    """OpenVINO on the CPU: `openvino_model.xml` and `.bin`, which `optimum-intel` and OpenVINO's own tools read too.

    It answers from `model.onnx` as well, and alike: opening that file makes of it what is stored as these two.

    Layers that are not quantised run in float32: on a processor without AMX, bfloat16 was 1.5 to 2 times slower.
    OpenVINO multiplies INT8 layers whose input ranges come from each call (`quantize=dynamic`) in float, so the export
    checks refuse them.
    """

    name = "openvino"
    reads_onnx = True
    files = (FILE, "openvino_model.bin")

    def missing(self) -> str:
        needed = ("onnx", "onnxscript", "openvino")
        return ", ".join(package for package in needed if importlib.util.find_spec(package) is None)

    def version(self) -> str:
        return str(_openvino().__version__)

    def export(self, model: "Model", folder: Path) -> None:
        from clinlm.engines.onnx_graph import export_onnx  # here: only export needs torch

        ov = _openvino()
        if self.files[0] == ONNX:
            export_onnx(model, folder / ONNX)
            return
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / ONNX
            export_onnx(model, path)
            ov.save_model(ov.Core().read_model(path), folder / FILE, compress_to_fp16=False)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        compiled = _compiled(folder / self.files[0], threads)
        request, places = compiled.create_infer_request(), {own.any_name: n for n, own in enumerate(compiled.inputs)}
        tensor = _openvino().Tensor

        def answer(input_ids: Rows, attention_mask: Rows) -> Logits:
            # Tensors over our arrays: a dictionary of arrays is copied and checked at every call, which took 1.5 times
            # as long for a small network.
            for name, rows in (("input_ids", input_ids), ("attention_mask", attention_mask)):
                request.set_input_tensor(places[name], tensor(np.ascontiguousarray(rows), shared_memory=True))
            request.infer()
            logits: Logits = request.get_output_tensor().data.copy()
            return logits

        return answer

    def matrices(self, folder: Path) -> "list[Matrix]":
        return list(_matrices(_openvino().Core().read_model(folder / self.files[0])))

    def integer_products(self, folder: Path) -> int:
        """See `Engine.integer_products`: products of two 8-bit inputs in the graph compiled for this processor."""
        return sum(
            _text(op.get_rt_info()["layerType"]) in ("FullyConnected", "MatMul")
            and all(op.input(place).get_element_type().to_string() in _EIGHT for place in (0, 1))
            for op in _compiled(folder / self.files[0], 1).get_runtime_model().get_ordered_ops()
            if "layerType" in op.get_rt_info() and len(op.inputs()) > 1
        )


def _openvino() -> Any:
    """Return the library with its telemetry disabled.

    `import openvino` sends an event over the network through `openvino_telemetry`; without that package it uses its own
    stub. No data leaves this machine unless the user decides so.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return imported("openvino", "openvino")


def _compiled(graph: Path, threads: int | None) -> Any:
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    # A pinned thread waits for its core while others are idle: two copies with a thread each were pinned to one core.
    settings["ENABLE_CPU_PINNING"] = "NO"
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    core = _openvino().Core()
    return core.compile_model(core.read_model(graph), "CPU", settings)


def _text(value: Any) -> str:
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


def _matrices(graph: Any) -> "Iterator[Matrix]":
    from clinlm.models.layers.base import Matrix

    for op in graph.get_ordered_ops():
        shape = tuple(op.get_output_shape(0)) if op.get_type_name() == "Constant" else ()
        if len(shape) in (2, 3) and "Gather" not in {_reader(target) for target in op.output(0).get_target_inputs()}:
            bits = op.get_output_element_type(0).bitwidth
            low, high = sorted((int(np.prod(shape[:-1])), shape[-1]))
            values = np.asarray(op.get_data())
            if bits == 4 and values.dtype == np.uint8 and values.size < low * high:  # two per byte
                values = np.stack([values & 15, values >> 4])
            yield Matrix((low, high), bits, int(np.count_nonzero(values)))


def _reader(target: Any) -> str:
    """Return the type of the operation that reads a constant, after its conversion to float."""
    node = target.get_node()
    while node.get_type_name() == "Convert":
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    return str(node.get_type_name())
