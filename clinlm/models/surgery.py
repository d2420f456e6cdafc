"""Irreversible structural changes: functions `(network, **plain data) -> None` that an `Edit` replays on a skeleton.

Those that slice keep the weights of what stays, bit for bit, so that the same call serves a live network (pruning) and
an untrained one (loading an artifact, whose weights come afterwards). All arguments are JSON.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from clinlm.models import structure
from clinlm.models.layers.edits import quantize_linears as quantize_linears  # older artifacts name it here
from clinlm.models.layers.low_rank_embedding import LowRankEmbedding
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.replace import check_unmasked, find_layer, replace_module


def keep_ffn_units(network: nn.Module, units: Mapping[str, Sequence[int]]) -> None:
    """Slice the feed-forward blocks: rows of the input weight and bias, columns of the output weight.

    Args:
        network: has `body`, the encoder.
        units: layer number (as a string, as JSON has it) -> the units that stay, in ascending order.

    Raises:
        ValueError: a layer or unit that does not exist, or no unit left in a layer.
    """
    layers = structure.layers(network.body)  # type: ignore[arg-type]
    for name, kept in units.items():
        layer = layers[_checked(int(name), len(layers), "layer")]
        check_whole(layer.up, layer.down)
        index = _index(kept, layer.up.out_features, "FFN unit")
        _slice_rows(layer.up, index)
        _slice_columns(layer.down, index)


def keep_heads(network: nn.Module, heads: Mapping[str, Sequence[int]]) -> None:
    """Slice attention: rows of the query, key and value weights and biases, columns of the attention output weight.

    Args:
        network: has `body`, the encoder.
        heads: layer number (as a string, as JSON has it) -> the heads that stay, in ascending order.

    Raises:
        ValueError: a layer or head that does not exist, or no head left in a layer.
    """
    layers = structure.layers(network.body)  # type: ignore[arg-type]
    for name, kept in heads.items():
        layer = layers[_checked(int(name), len(layers), "layer")]
        check_whole(layer.query, layer.key, layer.value, layer.attention_output)
        index = _index(kept, layer.heads, "attention head")
        rows = (index[:, None] * layer.head_size + torch.arange(layer.head_size)).flatten()
        for linear in (layer.query, layer.key, layer.value):
            _slice_rows(linear, rows)
        _slice_columns(layer.attention_output, rows)
        structure.set_heads(layer, len(index))


def keep_layers(network: nn.Module, numbers: Sequence[int]) -> None:
    """Keep only the encoder layers `numbers` (counted from 0, in ascending order).

    Raises:
        ValueError: a layer that does not exist, or none left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    name, stack = structure.stack(body)
    index = _index(numbers, len(stack), "layer").tolist()
    parent, _, attribute = name.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.ModuleList(stack[i] for i in index))
    config = body.config
    setattr(config, structure.layer_attribute(config), len(index))


def keep_hidden(network: nn.Module, dimensions: Sequence[int]) -> None:
    """Keep only `dimensions` of the hidden state: in the embeddings, in every layer, in pooling and in the head.

    Heads and FFN units keep their number; the inner width of attention is untouched, and so are embeddings that have a
    width of their own (ELECTRA): of these the projection to the hidden state is cut.

    Raises:
        ValueError: a dimension that does not exist, or none left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    structure.check_trainable(network)
    check_whole(*(getattr(layer, role) for layer in structure.layers(body) for role in structure.LINEARS))
    total = structure.hidden_size(body)
    index = _index(dimensions, total, "hidden dimension")
    projection = structure.embedding_projection(body)
    if projection is None:
        tables, norm = structure.embedding_parts(body)
        for table in tables:
            table.weight = nn.Parameter(table.weight.detach()[:, index].clone())
            table.embedding_dim = len(index)
        factors = structure.low_rank_embedding(body)
        if factors is not None:
            check_whole(factors.up)
            _slice_rows(factors.up, index)
        _slice_norm(norm, index)
    else:
        _slice_rows(projection, index)
    for layer in structure.layers(body):
        for reader in (layer.query, layer.key, layer.value, layer.up):
            _slice_columns(reader, index)
        for writer in (layer.attention_output, layer.down):
            _slice_rows(writer, index)
        _slice_norm(layer.attention_norm, index)
        _slice_norm(layer.output_norm, index)
    _narrow_readers(network, index, total)


def keep_tokens(network: nn.Module, tokens: Sequence[int]) -> None:
    """Keep only `tokens` of the vocabulary, in ascending order: rows of the tables of tokens, and the numbers in the
    configuration. `clinlm.models.token_pruning` does the same to the tokenizer.

    Raises:
        ValueError: a token that does not exist, none left, no padding token, embeddings that are no table of floats, or
            positions that are counted from the padding token where its number would change (RoBERTa).
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    tables = structure.token_tables(body)
    for table in tables:
        check_unmasked(table)
    index = _index(tokens, tables[0].num_embeddings, "token")
    new = {old: number for number, old in enumerate(tokens)}
    config: Any = body.config
    if config.pad_token_id is not None and config.pad_token_id not in new:
        raise ValueError(f"an edit keeps the padding token; {config.pad_token_id} is not among those that stay")
    for other in (one for one in body.modules() if isinstance(one, nn.Embedding) and one not in tables):
        if other.padding_idx is not None and new[other.padding_idx] != other.padding_idx:
            raise ValueError(
                f"{type(body).__name__} counts positions from the padding token, which keeps its number; it would move "
                f"from {other.padding_idx} to {new[other.padding_idx]}; keep the tokens before it"
            )
    for table in tables:
        table.weight = nn.Parameter(table.weight.detach()[index].clone())
        table.num_embeddings = config.vocab_size = len(index)
        table.padding_idx = None if table.padding_idx is None else new[table.padding_idx]
    for name, number in [*vars(config).items()]:
        if name.endswith("_token_id") and isinstance(number, int):
            setattr(config, name, new.get(number))


def keep_filters(network: nn.Module, filters: Mapping[str, Sequence[int]]) -> None:
    """Slice convolutions: rows and bias of their weight, columns of what reads them in pooling and in the head.

    Args:
        network: has `body`, a `TextCnn`.
        filters: group of filters (as a string, as JSON has it) -> the filters that stay, in ascending order.

    Raises:
        ValueError: no convolutions, a group or filter that does not exist, or no filter left in a group.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    groups = structure.filters(body)
    check_whole(*groups, *_readers(network))
    stay = [torch.arange(linear.out_features) for linear in groups]
    for name, kept in filters.items():
        group = _checked(int(name), len(groups), "group of filters")
        stay[group] = _index(kept, groups[group].out_features, "filter")
    ends = accumulate(linear.out_features for linear in groups)
    shifts = [end - linear.out_features for end, linear in zip(ends, groups, strict=True)]
    columns = torch.cat([index + shift for index, shift in zip(stay, shifts, strict=True)])
    total: int = body.config.hidden_size  # type: ignore[union-attr, assignment]
    if body.config.opening is not None:  # type: ignore[union-attr]
        columns = torch.cat([columns, columns + total // 2])
    for linear, index in zip(groups, stay, strict=True):
        _slice_rows(linear, index)
    _narrow_readers(network, columns, total)
    body.config.filters = [len(index) for index in stay]  # type: ignore[union-attr]


def factorize(network: nn.Module, ranks: Mapping[str, int]) -> None:
    """Replace linear layers by low-rank pairs, whose values are yet to come: they are NaN.

    Computing them here would cost a singular value decomposition a layer (BERT-base: 10 s) whenever an artifact loads,
    only to be written over. A method writes them with `LowRankLinear.set`.

    Args:
        network: has the linear layers.
        ranks: dotted name of a linear layer -> rank.

    Raises:
        ValueError: no such linear layer, or a rank that it cannot have.
    """
    for name, rank in ranks.items():
        linear = find_layer(network, name, nn.Linear, "factorised")
        pair = LowRankLinear(linear.in_features, linear.out_features, rank, linear.bias is not None)
        for parameter in pair.parameters():
            nn.init.constant_(parameter, torch.nan)
        replace_module(network, name, pair.train(linear.training))


def factorize_embeddings(network: nn.Module, rank: int) -> None:
    """Replace the word embeddings by a product of this rank, whose values are yet to come: they are NaN.

    One that is a product already gets another rank. A method writes the values, as for `factorize`.

    Raises:
        ValueError: embeddings that are no table of floats, or a rank that they cannot have.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    name, table = structure.word_embeddings_name(body), structure.word_embeddings(body)
    check_unmasked(table)
    factors = structure.low_rank_embedding(body)
    if factors is not None:
        check_whole(factors.up)
    width = table.embedding_dim if factors is None else factors.embedding_dim
    made = LowRankEmbedding(table.num_embeddings, width, rank, table.padding_idx)
    for parameter in made.parameters():
        nn.init.constant_(parameter, torch.nan)
    replace_module(body, name, made.train(table.training))


def check_whole(*linears: nn.Module) -> None:
    """Raise unless these are linear layers that can be sliced: neither masked, nor factorised, nor of integers.

    Raises:
        ValueError: one is not.
    """
    for linear in linears:
        check_unmasked(linear)
        if not isinstance(linear, nn.Linear):
            raise ValueError(
                f"only whole linear layers are sliced; one is a {type(linear).__name__}; prune first, then factorise, "
                "then quantise"
            )


def _readers(network: nn.Module) -> list[nn.Linear]:
    """Return what reads the hidden state beyond the body."""
    return [m for part in (network.pooling, network.head) for m in part.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]


def _narrow_readers(network: nn.Module, index: Int[Tensor, " kept"], total: int) -> None:
    """Slice the columns of what reads the hidden state of `total` numbers; after `max_mean` the head reads it twice."""
    for reader in _readers(network):
        _slice_columns(reader, torch.cat([index + start for start in range(0, reader.in_features, total)]))


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
