"""Training of the biases."""

from typing import final

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

    def attach(self, network: Network) -> None:
        freeze_encoder(network)
        biases = [p for name, p in network.body.named_parameters() if name.rpartition(".")[2] == "bias"]
        if not biases:
            raise ConfigError(
                f"adapter=bitfit needs an encoder with biases, {type(network.body).__name__} has none; choose another "
                "adapter, such as adapter=lora"
            )
        for bias in biases:
            bias.requires_grad_(True)
