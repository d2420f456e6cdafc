"""Irreversible structural changes: functions `(network, **plain data) -> None` that an `Edit` replays on a skeleton.

Slicing keeps the remaining weights bit for bit, so the same call serves a live network (pruning) and an untrained one
(loading an artifact, whose weights follow). All arguments are JSON.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.config.class_paths import load_stored_class
from clinlm.config.errors import ConfigError, ModelError
from clinlm.models import structure
from clinlm.models.layers.base import IntegerLayer
from clinlm.models.layers.low_rank_embedding import LowRankEmbedding
from clinlm.models.layers.low_rank_linear import LowRankLinear
from clinlm.models.layers.pruned_pooling import PrunedPooling
from clinlm.models.layers.token_pruning_encoder import TokenPruningEncoder
from clinlm.models.wide_branch import WideBranch

Layer = TypeVar("Layer", bound=nn.Module)


def keep_ffn_units(network: nn.Module, units: Mapping[str, Sequence[int]]) -> None:
    """Slice the feed-forward blocks: rows of the input weight, of the gate and of their biases, columns of the output.

    Args:
        network: has `body`, the encoder.
        units: layer number (a string, as in JSON) -> the units to keep, ascending.

    Raises:
        ConfigError: a layer or unit does not exist, or no unit would be left in a layer.
    """
    layers = structure.layers(network.body)  # type: ignore[arg-type]
    for name, kept in units.items():
        layer = layers[_checked(int(name), len(layers), "layer")]
        check_whole(*layer.by_unit, layer.down)
        index = _index(kept, layer.up.out_features, "FFN unit")
        for linear in layer.by_unit:
            _slice_rows(linear, index)
        _slice_columns(layer.down, index)


def keep_heads(network: nn.Module, heads: Mapping[str, Sequence[int]]) -> None:
    """Slice attention: rows of the query, key and value weights and biases, columns of the attention output weight.

    Args:
        network: has `body`, the encoder.
        heads: layer number (a string, as in JSON) -> the heads to keep, ascending.

    Raises:
        ConfigError: a layer or head does not exist, or no head would be left in a layer.
    """
    layers = structure.layers(network.body)  # type: ignore[arg-type]
    for name, kept in heads.items():
        layer = layers[_checked(int(name), len(layers), "layer")]
        check_whole(*layer.by_head, layer.attention_output)
        index = _index(kept, layer.heads, "attention head")
        if len(index) == layer.heads:
            continue
        rows = (index[:, None] * layer.head_size + torch.arange(layer.head_size)).flatten()
        for linear in layer.by_head:
            _slice_rows(linear, rows)
        _slice_columns(layer.attention_output, rows)
        structure.set_heads(network.body, layer, kept)  # type: ignore[arg-type]


def keep_layers(network: nn.Module, numbers: Sequence[int]) -> None:
    """Keep only the encoder layers `numbers` (counted from 0, ascending).

    Raises:
        ConfigError: a layer does not exist, or none would be left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    name, stack = structure.stack(body)
    structure.check_all_tokens(body)
    index = _index(numbers, len(stack), "layer").tolist()
    parent, _, attribute = name.rpartition(".")
    setattr(body.get_submodule(parent), attribute, nn.ModuleList(stack[i] for i in index))
    for name, value in structure.layer_settings(body.config, index).items():
        setattr(body.config, name, value)


def keep_hidden(network: nn.Module, dimensions: Sequence[int]) -> None:
    """Keep only `dimensions` of the hidden state: in the embeddings, in every layer, in pooling and in the head.

    The numbers of heads and FFN units and the inner width of attention do not change. Embeddings with a width of their
    own (ELECTRA) are left alone too: only their projection to the hidden state is cut.

    Raises:
        ConfigError: a dimension does not exist, or none would be left.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    structure.check_trainable(network)
    layers = structure.layers(body)
    check_whole(*(linear for layer in layers for linear in layer.linears))
    total = structure.hidden_size(body)
    index = _index(dimensions, total, "hidden dimension")
    projection = structure.embedding_projection(body)
    tables, extra_norms = structure.hidden_extras(body)
    if projection is None:
        tables = tables + structure.embedding_parts(body)[0]
        factors = structure.low_rank_embedding(body)
        if factors is not None:
            check_whole(factors.up)
            _slice_rows(factors.up, index)
    else:
        _slice_rows(projection, index)
    for norm in structure.norms(body) + extra_norms:
        _slice_norm(norm, index)
    for table in tables:
        table.weight = nn.Parameter(table.weight.detach()[:, index].clone())
        table.embedding_dim = len(index)
    for layer in layers:
        for reader in (*layer.by_head, *layer.by_unit):
            _slice_columns(reader, index)
        for writer in (layer.attention_output, layer.down):
            _slice_rows(writer, index)
    _narrow_readers(network, index, total)


def keep_tokens(network: nn.Module, tokens: Sequence[int]) -> None:
    """Keep only `tokens` (ascending) of the vocabulary: rows of the token tables, and ids in the configuration.

    `clinlm.models.vocabulary_pruning` does the same to the tokenizer.

    Raises:
        ConfigError: a token does not exist, none or no padding token would be left, or the padding token would get
            another id in a model that counts positions from it (RoBERTa).
        ModelError: the embeddings are not a float table.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    tables = structure.token_tables(body)
    if isinstance(network.wide, WideBranch):
        tables += [network.wide.table]
    for table in tables:
        check_unmasked(table)
    index = _index(tokens, tables[0].num_embeddings, "token")
    new = {old: number for number, old in enumerate(tokens)}
    config: Any = body.config
    if config.pad_token_id is not None and config.pad_token_id not in new:
        raise ConfigError(f"tokens to keep must include the padding token {config.pad_token_id}")
    for other in (m for m in body.modules() if isinstance(m, nn.Embedding) and m not in tables):
        if other.padding_idx is not None and new[other.padding_idx] != other.padding_idx:
            raise ConfigError(
                f"{type(body).__name__} counts positions from the padding token, which must keep its id "
                f"{other.padding_idx}, got {new[other.padding_idx]}; keep the tokens before it"
            )
    for table in tables:
        table.weight = nn.Parameter(table.weight.detach()[index].clone())
        table.num_embeddings = config.vocab_size = len(index)
        table.padding_idx = None if table.padding_idx is None else new[table.padding_idx]
    for name, number in [*vars(config).items()]:
        if name.endswith("_token_id") and isinstance(number, int):
            setattr(config, name, new.get(number))


def prune_tokens(network: nn.Module, percents: Sequence[int]) -> None:
    """Let encoder layers drop the tokens that receive least attention; see `TokenPruningEncoder`.

    This is about the tokens of a row. `keep_tokens` is about those that the tokenizer knows.

    Args:
        network: has one row of logits for every row of tokens.
        percents: of a row's tokens, rounded up, that leave each layer: in [1, 100], none larger than the one before.

    Raises:
        ConfigError: the percentages are others, or the network cannot drop tokens.
        ModelError: its layers drop tokens already, or their parts are not known.
    """
    body: nn.Module = network.body  # type: ignore[assignment]
    structure.check_token_pruning(network)
    name, stack = structure.stack(body)
    ordered = list(percents) == sorted(percents, reverse=True) and all(1 <= percent <= 100 for percent in percents)
    if len(percents) != len(stack) or not ordered:
        raise ConfigError(
            f"percents of tokens must be one in [1, 100] for each of {len(stack)} layers, none larger than the one "
            f"before, got {list(percents)}"
        )
    parent = name.rpartition(".")[0]
    replace_module(body, parent, TokenPruningEncoder(body.get_submodule(parent), body.config, percents))
    network.pooling = PrunedPooling(network.pooling, percents[-1])


def keep_filters(network: nn.Module, filters: Mapping[str, Sequence[int]]) -> None:
    """Slice convolutions: rows and bias of their weights, columns of the layers of pooling and head that read them.

    Args:
        network: has `body`, a `TextCnnModel`.
        filters: group of filters (a string, as in JSON) -> the filters to keep, ascending.

    Raises:
        ConfigError: a group or filter does not exist, or no filter would be left in a group.
        ModelError: the network has no convolutions.
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


def add_wide_branch(network: nn.Module, reach: int, share: float) -> None:
    """Put a `WideBranch` with NaN values, which are to be set afterwards, beside a network.

    Args:
        network: has one row of logits for every row of tokens.
        reach: first tokens of a row that the network still reads.
        share: of the branch in the logits.
    """
    (words, *_) = structure.token_tables(network.body)  # type: ignore[arg-type]
    made = WideBranch(words.num_embeddings, network.head.out_features, reach, share)  # type: ignore[union-attr, arg-type]
    for parameter in made.parameters():
        nn.init.constant_(parameter, torch.nan)
    network.wide = made.train(network.training)


def factorize(network: nn.Module, ranks: Mapping[str, int]) -> None:
    """Replace linear layers by low-rank pairs with NaN values, which are to be set afterwards.

    Computing the values here would cost one singular value decomposition per layer (BERT-base: 10 s) whenever an
    artifact loads, only to be overwritten. Methods set them with `LowRankLinear.set`.

    Args:
        ranks: dotted name of a linear layer -> rank.

    Raises:
        ConfigError: a rank outside its range.
        ModelError: there is no such linear layer, or it is masked.
    """
    for name, rank in ranks.items():
        linear = find_layer(network, name, nn.Linear)
        pair = LowRankLinear(linear.in_features, linear.out_features, rank, linear.bias is not None)
        for parameter in pair.parameters():
            nn.init.constant_(parameter, torch.nan)
        replace_module(network, name, pair.train(linear.training))


def factorize_embeddings(network: nn.Module, rank: int) -> None:
    """Replace the word embeddings by a product of this rank with NaN values, which are to be set as for `factorize`.

    Factorised embeddings get another rank.

    Raises:
        ConfigError: a rank outside its range.
        ModelError: the embeddings are not a float table.
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


def quantize(network: nn.Module, layer: str, names: Sequence[str], **settings: Any) -> None:
    """Replace float layers by integer ones; values that need calibration are to be set afterwards.

    Args:
        layer: dotted path of a subclass of `IntegerLayer`; see `load_stored_class`.
        names: dotted names of the float layers.
        settings: see the `from_float` of that class.

    Raises:
        ModelError: there is no such class or float layer, or it is masked.
    """
    kind = load_stored_class(layer, IntegerLayer)  # type: ignore[type-abstract]
    for name in names:
        found = find_layer(network, name, kind.replaces)
        replace_module(network, name, kind.from_float(found, **settings).train(found.training))


def find_layer(network: nn.Module, name: str, kind: type[Layer]) -> Layer:
    """Return the module `name`, to be replaced.

    Raises:
        ModelError: there is none, it is of another class, or it is masked.
    """
    module = dict(network.named_modules()).get(name)
    check_unmasked(module)
    if not isinstance(module, kind):
        got = "no such layer" if module is None else type(module).__name__
        raise ModelError(f"layer {name!r} must be of class {kind.__name__}, got {got}; name each layer once")
    return module


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the module `name`."""
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, module)


def check_unmasked(module: nn.Module | None) -> None:
    """Check that a module has no parametrizations: slicing or replacing it would lose them.

    Raises:
        ModelError: it has some.
    """
    if module is not None and parametrize.is_parametrized(module):
        raise ModelError(
            "masked linear layers cannot be sliced or replaced; list the method that changes shapes before the one "
            "that masks, or give it its own stage"
        )


def check_whole(*linears: nn.Module) -> None:
    """Check that these layers can be sliced: linear, neither masked nor factorised nor quantised.

    Raises:
        ModelError: one cannot.
    """
    for linear in linears:
        check_unmasked(linear)
        if not isinstance(linear, nn.Linear):
            raise ModelError(
                f"layers to slice must be plain linear layers, got a {type(linear).__name__}; prune first, then "
                "factorise, then quantise"
            )


def _readers(network: nn.Module) -> list[nn.Linear]:
    """Return the linear layers of pooling and head, which read the hidden state."""
    return [m for part in (network.pooling, network.head) for m in part.modules() if isinstance(m, nn.Linear)]  # type: ignore[union-attr]


def _narrow_readers(network: nn.Module, index: Int[Tensor, " kept"], total: int) -> None:
    """Slice the columns of these layers; after `max_mean` pooling the head reads the hidden state twice."""
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
    if norm.bias is not None:
        norm.bias = nn.Parameter(norm.bias.detach()[index].clone())
    norm.normalized_shape = (len(index),)


def _checked(number: int, total: int, what: str) -> int:
    if not 0 <= number < total:
        raise ConfigError(f"{what} to keep must be one of 0 to {total - 1}, got {number}")
    return number


def _index(kept: Sequence[int], total: int, what: str) -> Int[Tensor, " kept"]:
    if not kept:
        raise ConfigError(f"at least one {what} of {total} must stay, got none; lower the ratio")
    if list(kept) != sorted(set(kept)):
        raise ConfigError(f"each {what} to keep must be named once, in ascending order, got {list(kept[:8])}")
    for number in kept:
        _checked(number, total, what)
    return torch.tensor(kept, dtype=torch.long)
