"""Training of low-rank updates of chosen linear layers, and of the head."""

from collections.abc import Sequence
from typing import final

from peft import LoraConfig, LoraModel
from torch import nn

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least, check_interval, check_list
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Network


@final
class Lora(Adapter):
    """Low-rank adaptation of the encoder; pooling and head learn in full.

    Source: Hu et al. 2021, "LoRA", arXiv:2106.09685; computed by peft.

    Args:
        r: rank of the update, at least 1.
        alpha: the update is scaled by alpha / r; at least 1.
        dropout: before the update, in [0, 1).
        targets: name endings of the linear layers to update; where none matches, parts of a layer by role
            (`clinlm.models.structure.LINEARS`), of which a factorised one gets two updates ("five strategies for
            symptom extraction" updates the attention projections).

    Raises:
        ConfigError: a value outside its range, or (in `attach`) a target without a linear layer in the encoder.
    """

    def __init__(
        self, r: int = 32, alpha: int = 64, dropout: float = 0.05, targets: Sequence[str] = ("query", "key", "value")
    ) -> None:
        check_at_least("adapter.r", r, 1)
        check_at_least("adapter.alpha", alpha, 1)
        check_interval("adapter.dropout", dropout, "[0, 1)")
        check_list("adapter.targets", targets)
        check_at_least("length of adapter.targets", len(targets), 1)
        self.r, self.alpha, self.dropout, self.targets = r, alpha, dropout, list(targets)

    def attach(self, network: Network) -> None:
        """See `Adapter.attach`: updates start at zero."""
        names = [name for name, module in network.body.named_modules() if isinstance(module, nn.Linear)]
        found = {target: _matching(network.body, target, names) for target in self.targets}
        unknown = [target for target, matches in found.items() if not matches]
        if unknown:
            raise ConfigError(
                f"adapter.targets must match linear layers of the encoder, got {unknown}; "
                f"{type(network.body).__name__} has {sorted({name.rpartition('.')[2] for name in names})}"
            )
        modules = [name for matches in found.values() for name in matches]
        config = LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules)
        network.body = LoraModel(network.body, config, "default")

    def merge(self, network: Network) -> None:
        if not isinstance(network.body, LoraModel):
            raise RuntimeError("LoRA must be attached to a network before it is merged")
        network.body = network.body.merge_and_unload()
        network.requires_grad_(True)


def _matching(body: nn.Module, target: str, names: Sequence[str]) -> list[str]:
    """Return the full names of the linear layers that `target` matches."""
    found = [name for name in names if f".{name}".endswith(f".{target}")]
    if found or target not in structure.LINEARS:
        return found
    parts = [layer[target] for layer in structure.linear_names(body)]
    return [name for name in names if any(f"{name}.".startswith(f"{part}.") for part in parts)]
