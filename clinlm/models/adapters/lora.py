"""Low-rank updates of chosen linear layers learn, and the head."""

from collections.abc import Sequence
from typing import final

from peft import LoraConfig, LoraModel
from torch import nn

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
        targets: endings of the names of the linear layers that get one, or, where none ends so, parts of a layer by
            role (`clinlm.models.structure.LINEARS`), of which a factorised one gets two (S1: the attention
            projections).

    Raises:
        ValueError: a value outside its range, or (on attaching) a target that no linear layer of the encoder has.
    """

    def __init__(
        self, r: int = 32, alpha: int = 64, dropout: float = 0.05, targets: Sequence[str] = ("query", "key", "value")
    ) -> None:
        if r < 1:
            raise ValueError(f"adapter.r is a rank, at least 1; got {r}")
        if alpha < 1:
            raise ValueError(f"adapter.alpha is a whole number, at least 1; got {alpha}")
        if not 0 <= dropout < 1:
            raise ValueError(f"adapter.dropout is a share in [0, 1); got {dropout}")
        if isinstance(targets, str) or not targets:
            raise ValueError(f"adapter.targets is a list of names of linear layers; got {targets!r}")
        self.r, self.alpha, self.dropout, self.targets = r, alpha, dropout, list(targets)

    def attach(self, network: Network) -> None:
        """See `Adapter.attach`: the update begins at zero."""
        names = [name for name, module in network.body.named_modules() if isinstance(module, nn.Linear)]
        found = {target: _meant(network.body, target, names) for target in self.targets}
        unknown = [target for target, own in found.items() if not own]
        if unknown:
            raise ValueError(
                f"adapter.targets names linear layers of the encoder; none ends in {unknown}; "
                f"{type(network.body).__name__} has {sorted({name.rpartition('.')[2] for name in names})}"
            )
        modules = [name for own in found.values() for name in own]
        config = LoraConfig(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules)
        network.body = LoraModel(network.body, config, "default")

    def merge(self, network: Network) -> None:
        """See `Adapter.merge`: the update is added to the weights it was an update of."""
        if not isinstance(network.body, LoraModel):
            raise RuntimeError("merging LoRA needs a network that it was attached to")
        network.body = network.body.merge_and_unload()
        network.requires_grad_(True)


def _meant(body: nn.Module, target: str, names: Sequence[str]) -> list[str]:
    """Return the full names of the linear layers that `target` means."""
    found = [name for name in names if f".{name}".endswith(f".{target}")]
    if found or target not in structure.LINEARS:
        return found
    parts = [layer[target] for layer in structure.linear_names(body)]
    return [name for name in names if any(f"{name}.".startswith(f"{part}.") for part in parts)]
