"""Training of all weights."""

from typing import final

from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Network


@final
class Full(Adapter):
    """Every weight learns."""

    def attach(self, network: Network) -> None:
        network.requires_grad_(True)

    def merge(self, network: Network) -> None:
        network.requires_grad_(True)
