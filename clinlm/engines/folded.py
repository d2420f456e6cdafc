"""Convolutions over a token table as sums of rows of precomputed tables: per note, only the head is multiplied."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Float32, Int
from safetensors.numpy import load_file

from clinlm.config.errors import ModelError
from clinlm.engines.base import NETWORK_FILES, Answer, Engine, Logits, Rows

if TYPE_CHECKING:
    from torch import nn

    from clinlm.models.layers.base import Matrix
    from clinlm.models.model import Model, Network

_POOLINGS = ("max", "mean", "max_mean")
_CHUNK = 4096
"""Tokens whose rows are computed at once while tables are built."""
_MOST_BYTES = 2**30
_LEVELS = 255
_EXACT = 2**24
"""Sums of integers below it are exact in float32, in any order."""


@final
class Folded(Engine):
    """The network of `model=text_cnn`, each filter applied to each token of the vocabulary before the first note.

    A filter reads the concatenated vectors of `width` tokens, so its output is a sum of `width` terms, each of one
    token: `output(t) = bias + sum_k T_k[id(t + k - (width - 1) // 2)]`. The tables `T_k` are computed when the model is
    opened; files are those of the artifact. Rows are read one after another without their padding, by numpy on one
    thread. Float layers, INT8 tables and static INT8 are computed by numpy too, so that torch, which takes seconds and
    300 MB, is not imported; other layers compute their tables themselves.

    Exact for float layers up to the order of sums (1e-4 on a probability), and for static INT8, whose levels are those
    of single numbers. `quantize=dynamic` takes one range for a whole note: its tables have unrounded inputs, which are
    nearer to the network before quantisation than the artifact is; `tolerance` decides as for any engine.

    Memory: vocabulary x sum(width x filters) numbers of 4 bytes, 1 GiB at most.
    """

    name = "folded"
    files = NETWORK_FILES
    architectures = frozenset({"clinlm_text_cnn"})

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return f"{np.__version__} {importlib.metadata.version('torch')}"

    def export(self, model: "Model", folder: Path) -> None:
        """See `Engine.export`.

        Raises:
            ModelError: another architecture or pooling, or tables that take more than 1 GiB.
        """
        from clinlm.models.artifact import save_network

        check_foldable(model.network)
        save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. It computes on one thread, whatever `threads` says."""
        layers = _stored_layers(folder) or _network_layers(folder)
        maps, head, wide = _FoldedMaps(layers), layers.head, layers.wide  # the vectors are in the tables now
        reach = None if wide is None else wide.reach

        def answer(input_ids: Rows, attention_mask: Rows) -> Logits:
            rows = [row[:length] for row, length in zip(input_ids, attention_mask.sum(1).tolist(), strict=True)]
            logits = head(np.stack([maps.pooled(row[:reach]) for row in rows]))
            return logits if wide is None else wide.mean(logits, rows)

        return answer

    def matrices(self, folder: Path) -> "list[Matrix]":
        from clinlm.engines.torch import network_matrices
        from clinlm.models.artifact import load_network

        return network_matrices(load_network(folder))

    def integer_products(self, folder: Path) -> int:
        """Return how many layers multiply in integers: those of the artifact, most of them while tables are built."""
        from clinlm.engines.torch import integer_products
        from clinlm.models.artifact import load_network

        return integer_products(load_network(folder))


Linear = Callable[[Float32[np.ndarray, "rows inputs"]], Float32[np.ndarray, "rows outputs"]]


class _Layers(NamedTuple):
    """A convolution over a token table as functions of arrays."""

    vectors: Float32[np.ndarray, "tokens size"]
    widths: Sequence[int]
    filters: Sequence[Linear]
    opening: int | None
    pooling: str
    head: Linear
    wide: "_Wide | None"


@final
class _Wide(NamedTuple):
    """A `WideBranch` as arrays; its arguments and attributes under their names."""

    table: Float32[np.ndarray, "tokens outputs"]
    bias: Float32[np.ndarray, " outputs"]
    reach: int
    share: float

    def mean(self, deep: Logits, rows: Sequence[Int[np.ndarray, " _"]]) -> Logits:
        """Return the logits of rows without padding, averaged with those of the network beside it."""
        found = np.empty_like(deep)
        for place, row in enumerate(rows):
            counts = np.bincount(row)
            (tokens,) = np.nonzero(counts)
            weight = 1 + np.log(counts[tokens].astype(np.float32))
            found[place] = weight @ self.table.take(tokens, 0) / np.sqrt(weight @ weight) + self.bias
        return np.asarray((1 - self.share) * deep + self.share * found, np.float32)


def check_foldable(network: "Network") -> None:
    """Raise unless the network is a convolution over a token table whose pooled maps a head reads.

    Raises:
        ModelError: another architecture or pooling, or tables that take more than 1 GiB.
    """
    from clinlm.models.architectures.text_cnn import TextCnnModel

    body, pooling = network.body, network.pooling.name
    if not isinstance(body, TextCnnModel) or pooling not in _POOLINGS:
        raise ModelError(
            f"engine=folded runs model=text_cnn with pooling {', '.join(_POOLINGS)}, got {type(body).__name__} with "
            f"{pooling}; use engine=onnxruntime or openvino"
        )
    filters: Any = zip(body.config.widths, body.filters, strict=True)
    _check_size(body.config.vocab_size * sum(width * linear.out_features for width, linear in filters))


def _check_size(numbers: int) -> None:
    size = 4 * numbers
    if size > _MOST_BYTES:
        raise ModelError(
            f"tables of engine=folded may take 1 GiB, got {size / 2**30:.1f}; use prune=vocabulary, or another engine"
        )


def _stored_layers(folder: Path) -> _Layers | None:
    """Return the layers in the files of an artifact; None if one of them is of a kind that torch has to compute."""
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    shape = spec["config"]
    if shape["model_type"] not in Folded.architectures or spec["pooling"] not in _POOLINGS:
        return None
    state = load_file(folder / "model.safetensors")
    vectors = _stored_vectors(_of(state, "body.embeddings"))
    filters = [_stored_linear(_of(state, f"body.filters.{place}")) for place in range(len(shape["widths"]))]
    head = _stored_linear(_of(state, "head"))
    known = [linear for linear in filters if linear is not None]
    if vectors is None or head is None or len(known) < len(filters):
        return None
    _check_size(
        len(vectors) * sum(w * len(state[f"body.filters.{place}.weight"]) for place, w in enumerate(shape["widths"]))
    )
    wide = None
    if any(name.startswith("wide.") for name in state):
        table = _stored_vectors(_of(state, "wide.table"))
        if table is None:
            return None
        edits = json.loads((folder / "edits.json").read_text(encoding="utf-8"))
        own = next(edit["arguments"] for edit in edits if edit["function"].endswith(".add_wide_branch"))
        wide = _Wide(table, state["wide.bias"], own["reach"], own["share"])
    return _Layers(vectors, shape["widths"], known, shape.get("opening"), spec["pooling"], head, wide)


def _of(state: Mapping[str, np.ndarray], layer: str) -> dict[str, np.ndarray]:
    """Return the arrays of one layer, by their names in it."""
    return {name.removeprefix(f"{layer}."): own for name, own in state.items() if name.startswith(f"{layer}.")}


def _stored_vectors(layer: Mapping[str, np.ndarray]) -> Float32[np.ndarray, "tokens size"] | None:
    """Return the rows of an `nn.Embedding` or of an `Int8Embedding`; None for another layer."""
    if {*layer} == {"weight"} and layer["weight"].dtype == np.float32:
        return layer["weight"]
    if {*layer} == {"weight", "scale"} and layer["weight"].dtype == np.int8:
        return np.asarray(layer["weight"] * layer["scale"][:, None])
    return None


def _stored_linear(layer: Mapping[str, np.ndarray]) -> Linear | None:
    """Return the product of an `nn.Linear` or of a `StaticInt8Linear`, each with a bias; None for another layer."""
    if {*layer} == {"weight", "bias"} and layer["weight"].dtype == np.float32:
        return lambda inputs: inputs @ layer["weight"].T + layer["bias"]
    levels = {"weight", "scale", "bias", "input_scale", "input_zero_point"}
    if {*layer} - {"smooth"} != levels or layer["weight"].dtype != np.int8:
        return None
    zero = np.float32(layer["input_zero_point"])
    inverse = np.float32(1) / layer["input_scale"]
    weight = layer["weight"].T.astype(np.float32)
    scale = layer["input_scale"] * layer["scale"]
    largest = _LEVELS * np.abs(weight).sum(0).max(initial=0)
    exact = weight if largest < _EXACT else weight.astype(np.float64)

    def multiply(inputs: Float32[np.ndarray, "rows inputs"]) -> Float32[np.ndarray, "rows outputs"]:
        values = inputs * layer["smooth"] if "smooth" in layer else inputs
        # Rounded with the zero point added, as torch does: ties fall to the same level.
        levels = np.clip(np.rint(values * inverse + zero), 0, _LEVELS) - zero
        return np.asarray((levels @ exact).astype(np.float32) * scale + layer["bias"])

    return multiply


def _network_layers(folder: Path) -> _Layers:
    """Return the layers of an artifact as torch computes them.

    Raises:
        ModelError: see `check_foldable`.
    """
    import torch

    from clinlm.models.artifact import load_network
    from clinlm.models.layers.int8_linear import Int8Linear

    network = load_network(folder)
    check_foldable(network)
    body: Any = network.body
    numbers = torch.arange(body.config.vocab_size)

    def rows(table: "nn.Module") -> Float32[np.ndarray, "tokens size"]:
        with torch.no_grad():
            return np.asarray(torch.cat([table(part).float() for part in torch.split(numbers, _CHUNK)]).numpy())

    def unrounded(layer: "nn.Module") -> Callable[[Any], Any]:
        if isinstance(layer, Int8Linear):
            return partial(torch.nn.functional.linear, weight=layer.dequantized(), bias=layer.bias)
        return layer

    def product(layer: Callable[[Any], Any]) -> Linear:
        def multiply(inputs: Float32[np.ndarray, "rows inputs"]) -> Float32[np.ndarray, "rows outputs"]:
            with torch.no_grad():
                outputs: Float32[np.ndarray, "rows outputs"] = layer(torch.from_numpy(inputs)).float().numpy()
                return outputs

        return multiply

    filters = [product(unrounded(layer)) for layer in body.filters]
    own, wide = network.wide, None
    if own is not None:
        wide = _Wide(rows(own.table), own.bias.detach().numpy(), own.reach, own.share)
    pooling, head = network.pooling.name, product(network.head)
    return _Layers(rows(body.embeddings), body.config.widths, filters, body.config.opening, pooling, head, wide)


class _FoldedMaps:
    """Feature maps of a convolution, pooled.

    Every group of filters has a table for each place of its window: what a token there adds to the maps. Each table is
    gathered and added as a whole, in memory order.
    """

    def __init__(self, layers: _Layers) -> None:
        self._pooling, self._opening = layers.pooling, layers.opening
        self._floor = np.zeros(0, np.float32)
        self._groups: list[list[tuple[int, Float32[np.ndarray, "tokens filters"]]]] = []
        for width, linear in zip(layers.widths, layers.filters, strict=True):
            around, bias = _contributions(linear, layers.vectors, width)
            before = (width - 1) // 2
            around[before] += bias
            # The window's own token first: its rows are as many as the maps.
            order = sorted(range(width), key=lambda k: abs(k - before))
            self._groups.append([(k - before, around[k]) for k in order])

    def pooled(self, ids: Int[np.ndarray, " tokens"]) -> Float[np.ndarray, " pooled"]:
        """Return the pooled maps of one row without padding."""
        tokens, cut = len(ids), self._opening or 0
        parts: list[list[np.ndarray]] = [[], [], [], []]  # maxima and sums of the whole, and of the opening
        for (_, own), *others in self._groups:
            maps = own.take(ids, 0)
            for distance, table in others:
                near = max(0, tokens - abs(distance))
                if distance < 0:
                    maps[tokens - near :] += table.take(ids[:near], 0)
                else:
                    maps[:near] += table.take(ids[tokens - near :], 0)
            flat = maps.reshape(-1)
            np.maximum(flat, self._zeros(flat.size), out=flat)
            late = maps[cut:]
            # Maps are >= 0, so zeros stand for the maximum of no token.
            found = [late.max(0, initial=0), late.sum(0)]
            if cut:
                early = maps[:cut]
                start = [early.max(0), early.sum(0)]
                found = [np.maximum(found[0], start[0]), found[1] + start[1], *start]
            for part, values in zip(parts, found, strict=False):
                part.append(values)
        return self._joined(parts, tokens)

    def _zeros(self, size: int) -> Float32[np.ndarray, " size"]:
        """Return zeros: a maximum with an array takes numpy a quarter of the time of one with a number."""
        if len(self._floor) < size:
            self._floor = np.zeros(size, np.float32)
        return self._floor[:size]

    def _joined(self, parts: list[list[np.ndarray]], tokens: int) -> Float[np.ndarray, " pooled"]:
        """Return maxima, means or both in the order of `Pooling`; means are over all tokens."""
        maxima, sums = [*parts[0], *parts[2]], [*parts[1], *parts[3]]
        found = list[np.ndarray]()
        if self._pooling != "mean":
            found += maxima
        if self._pooling != "max":
            found += [total / np.float32(tokens) for total in sums]
        return np.concatenate(found, dtype=np.float32)


def _contributions(
    linear: Linear, vectors: Float32[np.ndarray, "tokens size"], width: int
) -> tuple[list[Float32[np.ndarray, "tokens filters"]], Float32[np.ndarray, " filters"]]:
    """Return what a token adds at every place of the window, and the output for a window of zeros.

    The layer itself computes both, on windows with one token: its levels of inputs, in INT8, are those of single
    numbers, and 0 is one of them.
    """
    size = vectors.shape[1]
    zero = linear(np.zeros((1, width * size), np.float32))[0]
    found = [np.empty((len(vectors), len(zero)), np.float32) for _ in range(width)]
    for k, table in enumerate(found):
        for start in range(0, len(vectors), _CHUNK):
            part = vectors[start : start + _CHUNK]
            window = np.zeros((len(part), width * size), np.float32)
            window[:, k * size : (k + 1) * size] = part
            np.subtract(linear(window), zero, out=table[start : start + _CHUNK])
    return found, zero
