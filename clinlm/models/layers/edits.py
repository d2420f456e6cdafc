"""Edits that put layers of integers in the place of float ones: functions `(network, **plain data) -> None`.

They serve a live network, whose weights they round, and an untrained skeleton, whose values are loaded afterwards. What
calibration found (the levels of inputs) is no argument but a value, as weights are.
"""

from collections.abc import Collection, Sequence

from torch import nn

from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.layers.int8_embedding import Int8Embedding
from clinlm.models.layers.int8_linear import Int8Linear
from clinlm.models.layers.static_int8_linear import StaticInt8Linear
from clinlm.models.replace import find_layer, replace_module


def quantize_linears(network: nn.Module, names: Sequence[str]) -> None:
    """Replace linear layers by INT8 ones of the same weights, rounded, whose inputs are quantised as they come.

    Raises:
        ValueError: no such linear layer.
    """
    for name in names:
        linear = find_layer(network, name, nn.Linear, "quantised")
        replace_module(network, name, Int8Linear.of(linear).train(linear.training))


def quantize_linears_static(network: nn.Module, names: Sequence[str], smoothed: Collection[str] = ()) -> None:
    """Replace linear layers by INT8 ones for inputs on fixed levels, whose values are yet to come.

    Args:
        network: has the linear layers.
        names: dotted names of linear layers.
        smoothed: those of them whose inputs are multiplied by a vector first.

    Raises:
        ValueError: no such linear layer.
    """
    for name in names:
        linear = find_layer(network, name, nn.Linear, "quantised")
        made = StaticInt8Linear(linear.in_features, linear.out_features, linear.bias is not None, name in smoothed)
        replace_module(network, name, made.train(linear.training))


def quantize_linears_int4(network: nn.Module, names: Sequence[str], group_size: int) -> None:
    """Replace linear layers by 4-bit ones of the same weights, rounded.

    Raises:
        ValueError: no such linear layer.
    """
    for name in names:
        linear = find_layer(network, name, nn.Linear, "quantised")
        replace_module(network, name, Int4Linear.of(linear, group_size).train(linear.training))


def quantize_embeddings(network: nn.Module, names: Sequence[str]) -> None:
    """Replace embedding tables by INT8 ones of the same rows, rounded.

    Raises:
        ValueError: no such embedding table.
    """
    for name in names:
        table = find_layer(network, name, nn.Embedding, "quantised")
        replace_module(network, name, Int8Embedding.of(table).train(table.training))
