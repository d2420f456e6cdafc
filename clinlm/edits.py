"""Irreversible structural changes: functions `(network, **plain data) -> None` that an `Edit` replays on a skeleton.

Each keeps the weights of what stays, bit for bit, so that the same call serves a live network (pruning) and an
untrained one (loading an artifact, whose weights come afterwards). All arguments are JSON.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from clinlm import anatomy


def keep_ffn_units(network: nn.Module, units: Mapping[str, Sequence[int]]) -> None:
    """Slice the feed-forward blocks: rows of the input weight and bias, columns of the output weight.

    Args:
        network: has `body`, the encoder.
        units: layer number (as a string, as JSON has it) -> the units that stay, in ascending order.

    Raises:
        ValueError: a layer or unit that does not exist, or no unit left in a layer.
    """
    layers = anatomy.layers(network.body)  # type: ignore[arg-type]
    for name, kept in units.items():
        layer = layers[_checked(int(name), len(layers), "layer")]
        index = _index(kept, layer.up.out_features, "FFN unit")
        _slice_rows(layer.up, index)
        _slice_columns(layer.down, index)


def keep_layers(network: nn.Module, numbers: Sequence[int]) -> None:
    """Keep only the encoder layers `numbers` (counted from 0, in ascending order).

    Raises:
        ValueError: a layer that does not exist, or none left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    name, stack = anatomy.stack(body)
    index = _index(numbers, len(stack), "layer").tolist()
    parent, _, attribute = name.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.ModuleList(stack[i] for i in index))
    config = body.config
    setattr(config, anatomy.layer_attribute(config), len(index))


def keep_hidden(network: nn.Module, dimensions: Sequence[int]) -> None:
    """Keep only `dimensions` of the hidden state: in the embeddings, in every layer, in pooling and in the head.

    Heads and FFN units keep their number; the inner width of attention is untouched, and so are embeddings that have a
    width of their own (ELECTRA): of these the projection to the hidden state is cut.

    Raises:
        ValueError: a dimension that does not exist, or none left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    index = _index(dimensions, anatomy.hidden_size(body), "hidden dimension")
    projection = anatomy.embedding_projection(body)
    if projection is None:
        tables, norm = anatomy.embedding_parts(body)
        for table in tables:
            table.weight = nn.Parameter(table.weight.detach()[:, index].clone())
            table.embedding_dim = len(index)
        _slice_norm(norm, index)
    else:
        _slice_rows(projection, index)
    for layer in anatomy.layers(body):
        for reader in (layer.query, layer.key, layer.value, layer.up):
            _slice_columns(reader, index)
        for writer in (layer.attention_output, layer.down):
            _slice_rows(writer, index)
        _slice_norm(layer.attention_norm, index)
        _slice_norm(layer.output_norm, index)
    for module in (network.pooling, network.head):
        for linear in (m for m in module.modules() if isinstance(m, nn.Linear)):  # type: ignore[union-attr]
            _slice_columns(linear, index)


def _slice_rows(linear: nn.Linear, index: Int[Tensor, " kept"]) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[index].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[index].clone())
    linear.out_features = len(index)


def _slice_columns(linear: nn.Linear, index: Int[Tensor, " kept"]) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[:, index].clone())
    linear.in_features = len(index)


def _slice_norm(norm: nn.LayerNorm, index: Int[Tensor, " kept"]) -> None:
    norm.weight = nn.Parameter(norm.weight.detach()[index].clone())
    norm.bias = nn.Parameter(norm.bias.detach()[index].clone())
    norm.normalized_shape = (len(index),)


def _checked(number: int, total: int, what: str) -> int:
    if not 0 <= number < total:
        raise ValueError(f"an edit keeps what is there; {what} {number} is not among the {total} of this network")
    return number


def _index(kept: Sequence[int], total: int, what: str) -> Int[Tensor, " kept"]:
    if not kept:
        raise ValueError(f"an edit leaves at least one {what}; none of {total} would stay; lower the ratio")
    if list(kept) != sorted(set(kept)):
        raise ValueError(f"an edit names each {what} once, in ascending order; got {len(kept)} numbers that are not")
    for number in kept:
        _checked(number, total, what)
    return torch.tensor(kept, dtype=torch.long)
