"""How much worse a model becomes when one of its layers is quantised and all others stay in float."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from clinlm.models.replace import replace_module
from clinlm.training.modules.base import Module, predict


def layer_sensitivities(module: Module, layers: Mapping[str, nn.Module], documents: int, seed: int) -> dict[str, float]:
    """Return for every layer by how much the mean loss on validation documents rises if it alone is quantised.

    Args:
        module: its network is as it was, afterwards.
        layers: dotted name -> the quantised layer that takes its place.
        documents: at most so many validation documents, drawn at random.
        seed: of the draw.
    """
    plain = mean_loss(module, documents, seed)
    found = {}
    for name, layer in layers.items():
        with replaced(module.network, name, layer):
            found[name] = mean_loss(module, documents, seed) - plain
    return found


def mean_loss(module: Module, documents: int, seed: int) -> float:
    """Return the task's own loss, without dropout, over at most `documents` validation documents drawn at random."""
    members = module.task.examples.members("validation")
    chosen = np.random.default_rng(seed).permutation(members)[:documents]
    index, logits = predict(module.network, module.data.loader(np.sort(chosen)), module.task.long_notes)
    return float(module.task.loss(torch.from_numpy(logits).double(), module.data.targets[torch.from_numpy(index)]))


def most_sensitive(rises: Mapping[str, float], count: int) -> list[str]:
    """Return the `count` layers whose loss rises most; of equal ones, the earlier."""
    return sorted(rises, key=lambda name: -rises[name])[:count]


@contextmanager
def replaced(network: nn.Module, name: str, layer: nn.Module) -> Iterator[None]:
    """Have `layer` in the place `name` of the network for a while."""
    before = network.get_submodule(name)
    replace_module(network, name, layer.train(before.training))
    try:
        yield
    finally:
        replace_module(network, name, before)
