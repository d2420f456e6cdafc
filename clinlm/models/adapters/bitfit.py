"""Training of the biases."""

from typing import final

from torch import nn

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_positive
from clinlm.models.adapters.freezing import Freezing, freeze_encoder
from clinlm.models.model import Network


@final
class Bitfit(Freezing):
    """The biases of the encoder learn, those of its norms included; pooling and head learn in full.

    Source: Ben Zaken et al. 2022, "BitFit", arXiv:2106.10199.

    Args:
        learning_rate_factor: see `Adapter`; the paper's rates are about twenty times those of full fine-tuning.

    Raises:
        ConfigError: a factor that is not positive, or (in `attach`) an encoder without biases.
    """

    def __init__(self, learning_rate_factor: float = 20.0) -> None:
        check_positive("adapter.learning_rate_factor", learning_rate_factor)
        self.learning_rate_factor = learning_rate_factor

    def check(self, network: Network) -> None:
        if not _biases(network):
            raise ConfigError(
                f"adapter=bitfit needs an encoder with biases, {type(network.body).__name__} has none; choose another "
                "adapter, such as adapter=lora"
            )

    def attach(self, network: Network) -> None:
        self.check(network)
        freeze_encoder(network)
        for bias in _biases(network):
            bias.requires_grad_(True)


def _biases(network: Network) -> list[nn.Parameter]:
    return [p for name, p in network.body.named_parameters() if name.rpartition(".")[2] == "bias"]
