"""The artifact as it is, in eager torch."""

from pathlib import Path
from typing import final

import torch
from torch import nn

from clinlm.engines.base import Answer, Engine, Rows
from clinlm.engines.matrix import Matrix
from clinlm.models import artifact as artifacts
from clinlm.models.layers.base import IntegerLinear
from clinlm.models.layers.int4_linear import Int4Linear
from clinlm.models.model import Model


@final
class Torch(Engine):
    """Eager torch: what trained the model also runs it. Its files are those of an artifact."""

    name = "torch"

    def missing(self) -> str:
        """See `Engine.missing`."""
        return ""

    def version(self) -> str:
        """See `Engine.version`."""
        return str(torch.__version__)

    def export(self, model: Model, folder: Path) -> None:
        """See `Engine.export`."""
        artifacts.save_network(model, folder)

    def open(self, folder: Path, threads: int | None = None) -> Answer:
        """See `Engine.open`. Threads are those of the whole process in torch: of two models, the last decides."""
        if threads is not None:
            torch.set_num_threads(threads)
        network = artifacts.load_network(folder)

        def answer(input_ids: Rows, attention_mask: Rows) -> torch.Tensor:
            with torch.inference_mode():
                logits: torch.Tensor = network(input_ids, attention_mask)
                return logits

        return answer

    def matrices(self, folder: Path) -> list[Matrix]:
        """See `Engine.matrices`."""
        return network_matrices(artifacts.load_network(folder))

    def integer_products(self, folder: Path) -> int:
        """See `Engine.integer_products`."""
        return integer_layers(artifacts.load_network(folder))


def integer_layers(network: nn.Module) -> int:
    """Return how many layers multiply in integers."""
    return sum(isinstance(one, IntegerLinear) for one in network.modules())


def network_matrices(network: nn.Module) -> list[Matrix]:
    """Return every matrix of weights that a product of the network reads."""
    found = []
    for one in network.modules():
        if isinstance(one, Int4Linear):
            # Blocks are whole in every engine: the last one of a row is filled up with zeros.
            low, high = sorted((one.scale.shape[1] * one.group_size, one.out_features))
            found.append(Matrix((low, high), 4, int(one.dequantized().count_nonzero())))
        elif isinstance(one, (nn.Linear, IntegerLinear)):
            found.append(Matrix.of(one.weight.detach().numpy()))
    return found
