"""Eager torch, which runs the artifact itself."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from torch import nn

from clinlm.engines.base import NETWORK_FILES, Answer, Engine, Logits, Rows
from clinlm.models import artifact as artifacts
from clinlm.models import structure
from clinlm.models.layers.base import IntegerLayer, Matrix
from clinlm.models.model import Model, Network


@final
class Torch(Engine):
    """Eager torch, as in training. Its files are those of an artifact."""

    name = "torch"
    files = NETWORK_FILES

    def missing(self) -> str:
        return ""

    def version(self) -> str:
        return str(torch.__version__)

    def export(self, model: Model, folder: Path) -> None:
        artifacts.save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. Torch's number of threads holds for the whole process: the last model sets it."""
        if threads is not None:
            torch.set_num_threads(threads)
        network = artifacts.load_network(folder)

        return network_answers(network)

    def matrices(self, folder: Path) -> list[Matrix]:
        return network_matrices(artifacts.load_network(folder))

    def integer_products(self, folder: Path) -> int:
        return integer_products(artifacts.load_network(folder))


def network_answers(network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Answer:
    """Return what answers with a network in evaluation mode, without gradients."""

    def answer(input_ids: Rows, attention_mask: Rows) -> Logits:
        with torch.no_grad():
            logits: Logits = network(torch.from_numpy(input_ids), torch.from_numpy(attention_mask)).numpy()
            return logits

    return answer


def integer_layers(network: nn.Module) -> list[IntegerLayer]:
    """Return the integer layers of a network."""
    return [layer for layer in network.modules() if isinstance(layer, IntegerLayer)]


def integer_products(network: nn.Module) -> int:
    """Return how many matrix products of the network are computed in integers."""
    return sum(layer.integer_products for layer in integer_layers(network))


def without_constants(network: Network) -> nn.ModuleList:
    """Return the modules of a network without layers whose outputs are constants: an export may hold these instead."""
    constant = {*structure.position_projections(network.body)}
    return nn.ModuleList(m for m in network.modules() if m not in constant and not {*m.children()})


def network_matrices(network: nn.Module) -> list[Matrix]:
    """Return every weight matrix of the network."""
    linears = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    found = [layer.matrix() for layer in integer_layers(network)]
    return [Matrix.of(linear.weight.detach().numpy()) for linear in linears] + [m for m in found if m is not None]
