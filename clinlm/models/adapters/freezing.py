"""Base class of adapters that add nothing and freeze the weights that do not learn."""

from typing import final

from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Network


class Freezing(Adapter):
    """Trains some weights of the network itself, so that there is nothing to merge. Pooling and head learn in full."""

    @final
    def merge(self, network: Network) -> None:
        network.requires_grad_(True)


def freeze_encoder(network: Network) -> None:
    """Let pooling and head learn, and no weight of the encoder."""
    network.requires_grad_(True)
    network.body.requires_grad_(False)
