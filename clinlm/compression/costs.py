"""Costs of encoders by their widths, as sums over their parts. Parameters and bytes are computed, nothing is built."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Int
from torch import nn

from clinlm.models import structure
from clinlm.models.model import Network
from clinlm.models.size import count_parameters


@dataclass(frozen=True)
class Architecture:
    """Widths of an encoder.

    Attributes:
        rank: of factorised word embeddings; None for a whole table.
        layers: attention heads and FFN units of every layer; None for a removed layer.
    """

    hidden: int
    rank: int | None
    layers: Sequence[tuple[int, int] | None]

    @classmethod
    def read(cls, network: Network) -> Self:
        """Return the architecture of a network."""
        factors = structure.low_rank_embedding(network.body)
        layers = [(layer.heads, layer.up.out_features) for layer in structure.layers(network.body)]
        return cls(structure.hidden_size(network.body), None if factors is None else factors.rank, layers)


class CostModel(ABC):
    """Costs of the parts of an encoder, in one unit: bytes, parameters or milliseconds."""

    @abstractmethod
    def fixed(self, hidden: int, rank: int | None) -> float:
        """Return the cost of everything but the layers: embeddings, pooling, head."""

    @abstractmethod
    def attention(self, hidden: int, heads: int) -> float:
        """Return the cost of the attention block of one layer, its norm included."""

    @abstractmethod
    def ffn(self, hidden: int, units: int) -> float:
        """Return the cost of the feed-forward block of one layer, its norm included."""

    def total(self, architecture: Architecture) -> float:
        """Return the cost of the whole network."""
        layers = [layer for layer in architecture.layers if layer is not None]
        blocks = sum(
            self.attention(architecture.hidden, heads) + self.ffn(architecture.hidden, units) for heads, units in layers
        )
        return self.fixed(architecture.hidden, architecture.rank) + blocks


class ParameterCosts(CostModel):
    """Number of parameters times `each`, plus a constant.

    Args:
        network: its biases, tables and head are counted.
        each: 1, or the bytes of a number.
        constant: bytes of files without weights.
    """

    def __init__(self, network: Network, each: float = 1.0, constant: float = 0.0) -> None:
        first = structure.layers(network.body)[0]
        self.each, self.constant, self.head_size = each, constant, first.head_size
        self._by_head, self._by_unit = first.by_head, first.by_unit
        self._output_bias, self._down_bias = _biases(first.attention_output), _biases(first.down)
        self._norm = sum(parameter is not None for parameter in (first.output_norm.weight, first.output_norm.bias))
        words, factors = structure.word_embeddings(network.body), structure.low_rank_embedding(network.body)
        projection = structure.embedding_projection(network.body)
        self._tokens = words.num_embeddings
        width = words.embedding_dim if factors is None else factors.embedding_dim
        self._width = None if projection is None else width
        self._column = _column(network, words)
        self._hidden, self._rest = structure.hidden_size(network.body), 0.0
        now = Architecture.read(network)
        self._rest = count_parameters(network) - (self.total(now) - constant) / each

    def fixed(self, hidden: int, rank: int | None) -> float:
        width = hidden if self._width is None else self._width
        words = self._tokens * width if rank is None else rank * (self._tokens + width)
        return self.each * (words + self._rest + self._column * (hidden - self._hidden)) + self.constant

    def attention(self, hidden: int, heads: int) -> float:
        rows = heads * self.head_size * ((len(self._by_head) + 1) * hidden + _biases(*self._by_head))
        return self.each * (rows + hidden * (self._output_bias + self._norm))

    def ffn(self, hidden: int, units: int) -> float:
        rows = units * ((len(self._by_unit) + 1) * hidden + _biases(*self._by_unit))
        return self.each * (rows + hidden * (self._down_bias + self._norm))


def _biases(*linears: nn.Linear) -> int:
    return sum(linear.bias is not None for linear in linears)


def _column(network: Network, words: nn.Embedding) -> int:
    """Return how many parameters outside word embeddings and layers each hidden dimension has."""
    projection = structure.embedding_projection(network.body)
    readers = [m for part in (network.pooling, network.head) for m in part.modules() if isinstance(m, nn.Linear)]
    # A head on maximum and mean reads every dimension twice.
    count = sum(reader.out_features * (reader.in_features // structure.hidden_size(network.body)) for reader in readers)
    if projection is not None:
        return count + projection.in_features + _biases(projection)
    extra_tables, extra_norms = structure.hidden_extras(network.body)
    tables = [table for table in structure.embedding_parts(network.body)[0] if table is not words] + extra_tables
    layers, norms = structure.layers(network.body), structure.norms(network.body) + extra_norms
    # Two norms per layer are counted with it; the first layer of ModernBERT has one.
    outside = sum(p is not None for norm in norms for p in (norm.weight, norm.bias))
    inside = 2 * len(layers) * sum(p is not None for p in (layers[0].output_norm.weight, layers[0].output_norm.bias))
    return count + sum([table.num_embeddings for table in tables]) + outside - inside


def layer_multiplications(
    layer: structure.Layer, entering: Int[np.ndarray, " rows"], leaving: Int[np.ndarray, " rows"]
) -> int:
    """Return the multiplications in a layer over rows of tokens, some of which it drops between attention and FFN.

    Products of linear layers and of attention; not norms, activations and the sums that score tokens.

    Args:
        entering, leaving: tokens of every row.
    """
    first = sum(linear.weight.numel() for linear in layer.by_head)
    rest = sum(linear.weight.numel() for linear in (layer.attention_output, *layer.by_unit, layer.down))
    before, after = entering.astype(np.int64), leaving.astype(np.int64)
    pairs = 2 * layer.query.out_features * int(np.square(before).sum())
    return first * int(before.sum()) + pairs + rest * int(after.sum())
