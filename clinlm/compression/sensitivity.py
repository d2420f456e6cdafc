"""Layers to quantise, and how much the loss rises when one of them is quantised."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

from clinlm.compression.observation import called_modules
from clinlm.config.errors import ConfigError
from clinlm.models.surgery import replace_module
from clinlm.training.modules.base import Module, predict

FloatLayer = nn.Linear | nn.Embedding


def quantizable_layers(network: nn.Module, skip: Sequence[str]) -> dict[str, FloatLayer]:
    """Return all linear layers and embedding tables by name, except those whose names end in one of `skip`.

    Tables with a single column are left out, and layers that a forward pass does not call: they are unused, or their
    weight is read directly (DeBERTa's table of relative positions), which must stay a float.

    Raises:
        ConfigError: no layer has a name that ends in one of `skip`.
    """
    layers = {name: module for name, module in network.named_modules() if _shrinks(module)}
    unknown = [ending for ending in skip if not any(_has_ending(name, ending) for name in layers)]
    if unknown:
        endings = sorted({name.rpartition(".")[2] for name in layers})
        raise ConfigError(
            f"quantize.skip must match linear layers or embedding tables, got {unknown}; endings: {endings}"
        )
    called = called_modules(network)
    return {
        name: layer
        for name, layer in layers.items()
        if layer in called and not any(_has_ending(name, ending) for ending in skip)
    }


def _shrinks(module: nn.Module) -> TypeGuard[FloatLayer]:
    """Return whether integers are smaller: a table of one column (token weights) would grow by its scales."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Embedding) and module.embedding_dim > 1)


def _has_ending(name: str, ending: str) -> bool:
    return f".{name}".endswith(f".{ending}")


def layer_sensitivities(module: Module, layers: Mapping[str, nn.Module], documents: int, seed: int) -> dict[str, float]:
    """Return for every layer the rise of the mean loss on validation documents if it alone is quantised.

    Args:
        module: its network is unchanged afterwards.
        layers: dotted name -> quantised layer.
        documents: number of validation documents, at most, drawn at random.
    """
    baseline = mean_loss(module, documents, seed)
    rises = {}
    for name, layer in layers.items():
        with replaced(module.network, name, layer):
            rises[name] = mean_loss(module, documents, seed) - baseline
    return rises


def mean_loss(module: Module, documents: int, seed: int) -> float:
    """Return the task's loss, without dropout, over at most `documents` random validation documents."""
    members = module.task.examples.members("validation")
    chosen = np.random.default_rng(seed).permutation(members)[:documents]
    index, logits = predict(module.network, module.data.loader(np.sort(chosen)), module.task.long_notes)
    return float(
        module.task.loss(torch.from_numpy(logits).double(), module.data.targets[torch.from_numpy(index)].float())
    )


def most_sensitive(rises: Mapping[str, float], count: int) -> list[str]:
    """Return the `count` layers whose loss rises most; among equals, the earlier."""
    return sorted(rises, key=lambda name: -rises[name])[:count]


@contextmanager
def replaced(network: nn.Module, name: str, layer: nn.Module) -> Iterator[None]:
    """Put `layer` in the place `name` of the network for the time of the context."""
    before = network.get_submodule(name)
    replace_module(network, name, layer.train(before.training))
    try:
        yield
    finally:
        replace_module(network, name, before)
