"""Training of the last layers."""

from typing import final

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least
from clinlm.models import structure
from clinlm.models.adapters.freezing import Freezing, freeze_encoder
from clinlm.models.model import Network


@final
class LastLayers(Freezing):
    """The last layers of the encoder learn, with pooling and head; embeddings and earlier layers are frozen.

    Source: Lee et al. 2019, "What would Elsa do? Freezing layers during transformer fine-tuning", arXiv:1911.03090.

    Args:
        layers: how many, at least 1.

    Raises:
        ConfigError: fewer than 1, or (in `attach`) more than the encoder has.
        ModelError: (in `attach`) an encoder whose layers are not known.
    """

    def __init__(self, layers: int = 1) -> None:
        check_at_least("adapter.layers", layers, 1)
        self.layers = layers

    def check(self, network: Network) -> None:
        most = len(structure.stack(network.body)[1])
        if self.layers > most:
            raise ConfigError(f"adapter.layers must be at most {most}, the layers of this encoder, got {self.layers}")

    def attach(self, network: Network) -> None:
        self.check(network)
        freeze_encoder(network)
        for layer in structure.stack(network.body)[1][-self.layers :]:
            layer.requires_grad_(True)
