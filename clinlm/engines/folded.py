"""Convolutions over a token table as sums of rows of precomputed tables: per note, only the head is multiplied."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from clinlm.config.errors import ModelError
from clinlm.engines.base import Answer, Engine, Rows
from clinlm.engines.torch import integer_products, network_matrices
from clinlm.models import artifact as artifacts
from clinlm.models.architectures.text_cnn import TextCnnConfig, TextCnnModel
from clinlm.models.layers.base import Matrix
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.model import Model, Network

_POOLINGS = ("max", "mean", "max_mean")
_CHUNK = 4096
"""Tokens whose rows are computed at once while tables are built."""
_MOST_BYTES = 2**30


@final
class Folded(Engine):
    """The network of `model=text_cnn`, each filter applied to each token of the vocabulary before the first note.

    A filter reads the concatenated vectors of `width` tokens, so its output is a sum of `width` terms, each of one
    token: `output(t) = bias + sum_k T_k[id(t + k - (width - 1) // 2)]`. The tables `T_k` are computed when the model is
    opened, by the layers of the artifact themselves; files are those of the artifact. Rows are read one after another
    without their padding, by numpy on one thread.

    Exact for float layers up to the order of sums (1e-4 on a probability), and for static INT8, whose levels are those
    of single numbers. `quantize=dynamic` takes one range for a whole note: its tables have unrounded inputs, which are
    nearer to the network before quantisation than the artifact is; `tolerance` decides as for any engine.

    Memory: vocabulary x sum(width x filters) numbers of 4 bytes, 1 GiB at most.
    """

    name = "folded"
    architectures = frozenset({TextCnnConfig.model_type})

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return f"{np.__version__} {torch.__version__}"

    def export(self, model: Model, folder: Path) -> None:
        """See `Engine.export`.

        Raises:
            ModelError: another architecture or pooling, or tables that take more than 1 GiB.
        """
        check_foldable(model.network)
        artifacts.save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. It computes on one thread, whatever `threads` says."""
        network = artifacts.load_network(folder)
        check_foldable(network)
        with torch.no_grad():
            maps = _FoldedMaps(network)

        def answer(input_ids: Rows, attention_mask: Rows) -> Tensor:
            lengths = attention_mask.sum(1).tolist()
            pooled = [maps.pooled(row[:length]) for row, length in zip(input_ids.numpy(), lengths, strict=True)]
            with torch.inference_mode():
                logits: Tensor = network.head(torch.from_numpy(np.stack(pooled)))
            return logits.float()

        return answer

    def matrices(self, folder: Path) -> list[Matrix]:
        return network_matrices(artifacts.load_network(folder))

    def integer_products(self, folder: Path) -> int:
        """Return how many layers multiply in integers: those of the artifact, most of them while tables are built."""
        return integer_products(artifacts.load_network(folder))


def check_foldable(network: Network) -> None:
    """Raise unless the network is a convolution over a token table whose pooled maps a head reads.

    Raises:
        ModelError: another architecture or pooling, or tables that take more than 1 GiB.
    """
    body, pooling = network.body, network.pooling.name
    if not isinstance(body, TextCnnModel) or pooling not in _POOLINGS:
        raise ModelError(
            f"engine=folded runs model=text_cnn with pooling {', '.join(_POOLINGS)}, got {type(body).__name__} with "
            f"{pooling}; use engine=onnxruntime or openvino"
        )
    size = 4 * body.config.vocab_size * sum(width * linear.out_features for width, linear in _filters(body))
    if size > _MOST_BYTES:
        raise ModelError(
            f"tables of engine=folded may take 1 GiB, got {size / 2**30:.1f}; use prune=vocabulary, or another engine"
        )


def _filters(body: TextCnnModel) -> Iterator[tuple[int, Any]]:
    """Return the width and the layer of every group of filters."""
    return zip(body.config.widths, body.filters, strict=True)


class _FoldedMaps:
    """Feature maps of a `TextCnnModel`, pooled.

    One line of `table` has all that a token adds: to its own place, for every filter, and to the places around it, for
    filters that reach so far. Gathering these lines once reads a note's memory in order.
    """

    def __init__(self, network: Network) -> None:
        body: Any = network.body
        assert isinstance(body, TextCnnModel)
        self._pooling, self._opening = network.pooling.name, body.config.opening
        groups = [(width, linear.out_features, linear) for width, linear in _filters(body)]
        self._filters = sum(count for _, count, _ in groups)
        vectors = _all_vectors(body.embeddings, body.config.vocab_size)
        own, others = list[Tensor](), list[Tensor]()
        self._neighbours: list[tuple[int, slice, slice]] = []  # distance, columns of the maps, columns of the table
        first, place = 0, self._filters
        for width, count, linear in groups:
            around, bias = _contributions(linear, vectors, width)
            before = (width - 1) // 2
            own.append(around[before] + bias)
            for k, part in enumerate(around):
                if k != before:
                    columns = slice(first, first + count), slice(place, place + count)
                    self._neighbours.append((k - before, *columns))
                    others.append(part)
                    place += count
            first += count
        self._table: Float[np.ndarray, "vocabulary columns"] = torch.cat([*own, *others], 1).numpy()

    def pooled(self, ids: Int[np.ndarray, " tokens"]) -> Float[np.ndarray, " pooled"]:
        """Return the pooled maps of one row without padding."""
        lines = self._table.take(ids, 0)
        maps, tokens = lines[:, : self._filters], len(ids)
        for distance, columns, part in self._neighbours:
            near = max(0, tokens - abs(distance))
            if distance < 0:
                maps[tokens - near :, columns] += lines[:near, part]
            else:
                maps[:near, columns] += lines[tokens - near :, part]
        np.maximum(maps, 0, out=maps)
        if self._opening is None:
            return self._joined([(maps.max(0), maps.sum(0))], tokens)
        early, late = maps[: self._opening], maps[self._opening :]
        start = early.max(0), early.sum(0)
        # Maps are >= 0, so zeros stand for the maximum of no token.
        whole = np.maximum(start[0], late.max(0, initial=0)), start[1] + late.sum(0)
        return self._joined([whole, start], tokens)

    def _joined(self, parts: list[tuple[np.ndarray, np.ndarray]], tokens: int) -> Float[np.ndarray, " pooled"]:
        """Return the maxima, means or both of all parts in the order of `Pooling`; means are over all tokens."""
        found = list[np.ndarray]()
        if self._pooling != "mean":
            found += [largest for largest, _ in parts]
        if self._pooling != "max":
            found += [total / tokens for _, total in parts]
        return np.concatenate(found, dtype=np.float32)


def _all_vectors(table: nn.Module, tokens: int) -> Float[Tensor, "tokens size"]:
    numbers = torch.arange(tokens)
    return torch.cat([table(part).float() for part in torch.split(numbers, _CHUNK)])


def _contributions(
    linear: Any, vectors: Float[Tensor, "tokens size"], width: int
) -> tuple[list[Float[Tensor, "tokens filters"]], Float[Tensor, " filters"]]:
    """Return what a token adds at every place of the window, and the output for a window of zeros.

    The layer itself computes both, on windows with one token: its levels of inputs, in INT8, are those of single
    numbers, and 0 is one of them.
    """
    if isinstance(linear, Int8Linear):
        linear = partial(functional.linear, weight=linear.dequantized(), bias=linear.bias)
    size = vectors.shape[1]
    zero = linear(torch.zeros(1, width * size))[0]
    found = []
    for k in range(width):
        parts = []
        for part in torch.split(vectors, _CHUNK):
            window = torch.zeros(len(part), width * size)
            window[:, k * size : (k + 1) * size] = part
            parts.append(linear(window) - zero)
        found.append(torch.cat(parts))
    return found, zero
