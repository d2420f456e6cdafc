"""Training of all weights."""

from typing import final

from clinlm.models.adapters.freezing import Freezing
from clinlm.models.model import Network


@final
class Full(Freezing):
    """Every weight learns, but for a wide branch, which was fitted."""

    def attach(self, network: Network) -> None:
        network.requires_grad_(True)
        if network.wide is not None:
            network.wide.requires_grad_(False)
