"""What INT8 can gain on this processor, part by part of a transformer: why it is faster by so much and no more.

python benchmarks/int8_limit.py [--tokens 64 128 256] [--passes 30]

A network of MiniLM-L6's shape (random weights: speed only) answers one row, on one thread: eager torch in float32, and
every other engine in float32 and in static INT8. Each library's own profile says what its operations took, in ms; they
are assigned to parts by the shapes that they read, and the rows of the table are sums over the six layers.

The limit takes of every part the fastest that any engine reached in any precision, and the products of linear layers at
the highest rate of INT8 that any of them reached: more would need kernels that these libraries do not have. The last
line is what remains if everything but these products took no time.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from architecture import static
from paired import machine, minilm
from transformers import AutoTokenizer

from clinlm.config.extras import imported
from clinlm.engines.onnx_graph import export_onnx
from clinlm.engines.openvino import _openvino, _text
from clinlm.models.model import Model, ModelSpec

ort = imported("onnxruntime", "onnxruntime")

HIDDEN, INNER, HEADS, LAYERS = 384, 1536, 12, 6
SHAPE = {
    "model_type": "bert",
    "vocab_size": 30_522,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": 512,
}
PROJECTIONS, UP, DOWN, ATTENTION, REST = PARTS = ("projections", "FFN up", "FFN down", "attention", "all else")
"""Query, key, value and output; both halves of the FFN; products of attention and softmax; norms, GELU, embeddings."""
Shape = Sequence[int]
Profile = Mapping[str, float]
"""Part -> ms of one row."""
PRODUCTS = ("addmm", "MatMul", "Gemm", "FullyConnected")
"""In the names of operations that multiply by a matrix."""


def part(kind: str, rows: Shape, made: Shape, others: Sequence[Shape] = ()) -> str:
    """Return the part that an operation belongs to.

    Args:
        kind: its name.
        rows: the shape of its first input.
        made: of its result, of which only the last number counts.
        others: of further inputs.
    """
    if any(len(shape) > 2 and HEADS in shape[:-1] for shape in (rows, *others)):
        return ATTENTION
    if any(name in kind for name in PRODUCTS) and rows and made:
        return {(HIDDEN, HIDDEN): PROJECTIONS, (HIDDEN, INNER): UP, (INNER, HIDDEN): DOWN}.get(
            (rows[-1], made[-1]), REST
        )
    return REST


def multiplications(tokens: int) -> dict[str, float]:
    """Return the multiplications of every part for one row, in millions."""
    each = {PROJECTIONS: 4 * HIDDEN**2, UP: HIDDEN * INNER, DOWN: HIDDEN * INNER, ATTENTION: 2 * tokens * HIDDEN}
    return {name: LAYERS * tokens * count / 1e6 for name, count in each.items()}


def eager(network: torch.nn.Module, ids: np.ndarray, passes: int) -> Profile:
    """Return what torch's own profile says."""
    inputs = torch.from_numpy(ids), torch.ones(ids.shape, dtype=torch.int64)
    found: Counter[str] = Counter()
    with torch.inference_mode():
        for _ in range(3):
            network(*inputs)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
            for _ in range(passes):
                network(*inputs)
    for event in profile.key_averages(group_by_input_shape=True):
        shapes = [shape for shape in event.input_shapes if shape]  # of addmm: bias, rows, matrix
        rows, made = (shapes[1], shapes[2]) if "addmm" in event.key else (shapes[0] if shapes else [], [])
        found[part(event.key, rows, made, shapes)] += event.self_cpu_time_total / 1000 / passes
    return found


def openvino(graph: Path, ids: np.ndarray, passes: int) -> Profile:
    """Return what OpenVINO's profile says; settings as `clinlm.engines.openvino` has them, and the row's own shape."""
    core = _openvino().Core()
    model = core.read_model(graph)
    model.reshape({"input_ids": ids.shape, "attention_mask": ids.shape})
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}
    compiled = core.compile_model(model, "CPU", settings | {"INFERENCE_NUM_THREADS": "1", "PERF_COUNT": "YES"})
    request = compiled.create_infer_request()
    for _ in range(3 + passes):  # its counters are means over all calls
        request.infer({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    found: Counter[str] = Counter()
    for op in compiled.get_runtime_model().get_ordered_ops():
        facts = {
            name: _text(op.get_rt_info()[name]) for name in ("execTimeMcs", "layerType") if name in op.get_rt_info()
        }
        if facts.get("execTimeMcs", "").isdigit() and op.inputs():
            shapes = [[*map(int, own.get_partial_shape().to_shape())] for own in (*op.outputs(), *op.inputs())]
            found[part(facts["layerType"], shapes[1], shapes[0], shapes)] += int(facts["execTimeMcs"]) / 1000
    return found


def onnxruntime(graph: Path, ids: np.ndarray, passes: int) -> Profile:
    """Return what ONNX Runtime's profile says."""
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.enable_profiling, options.profile_file_prefix = True, str(graph.with_suffix(""))
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    for _ in range(passes):
        session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    found: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            made, read = (
                [shape for one in event["args"][name] for shape in one.values()]
                for name in ("output_type_shape", "input_type_shape")
            )
            kind = event["args"]["op_name"]
            found[part(kind, *(each[0] if each else [] for each in (read, made)), read)] += event["dur"] / 1000 / passes
    return found


def profiles(tokens: int, passes: int, root: Path) -> dict[str, Profile]:
    """Return the profile of every engine in every precision."""
    ids = np.random.default_rng(tokens).integers(1000, SHAPE["vocab_size"], (1, tokens))
    found: dict[str, Profile] = {}
    for precision in ("float32", "INT8"):
        graph = root / f"{precision}.onnx"
        spec = ModelSpec(SHAPE, 20, "mean", 0.0)
        torch.manual_seed(0)
        network = spec.build().eval()
        if precision == "INT8":
            static(network)
        else:
            found["eager float32"] = eager(network, ids, passes)
        if not graph.is_file():
            export_onnx(Model(spec, network, AutoTokenizer.from_pretrained(minilm())), graph)
        for name, profile in (("ONNX Runtime", onnxruntime), ("OpenVINO", openvino)):
            found[f"{name} {precision}"] = profile(graph, ids, passes)
    return found


def tell(tokens: int, found: Mapping[str, Profile]) -> None:
    """Print the parts, what every engine takes for them, and the limit."""
    counts, integers = multiplications(tokens), [name for name in found if name.endswith("INT8")]
    rate = max(counts[name] / found[own][name] for own in integers for name in PARTS[:3])
    limit = {name: min(own[name] for own in found.values()) for name in PARTS}
    limit |= {name: min(limit[name], counts[name] / rate) for name in PARTS[:3]}
    print(f"\n{tokens} tokens, ms of one row; highest rate of INT8 products: {rate:.0f} million multiplications a ms")
    print(f"{'part':14}{'millions':>10}" + "".join(f"{name:>22}" for name in (*found, "limit")))
    for name in PARTS:
        row = [own[name] for own in (*found.values(), limit)]
        print(f"{name:14}{counts.get(name, 0):>10.0f}" + "".join(f"{ms:>22.3f}" for ms in row))
    sums = [sum(own[name] for name in PARTS) for own in (*found.values(), limit)]
    print(f"{'sum':24}" + "".join(f"{ms:>22.3f}" for ms in sums))
    print(f"{'x against eager':24}" + "".join(f"{sums[0] / ms:>22.2f}" for ms in sums))
    print(f"all but linear layers free: {sums[0] / sum(limit[name] for name in PARTS[:3]):.2f} x against eager")


def main() -> None:
    """Print a table for every length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--passes", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        for tokens in given.tokens:
            tell(tokens, profiles(tokens, given.passes, Path(scratch)))
    print(machine())


if __name__ == "__main__":
    main()
