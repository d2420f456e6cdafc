"""Base class of adapters that peft computes."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_at_least, check_list, check_positive
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Network

ADAPTER = "default"
"""What peft calls the only adapter of a network."""


class Tuner(Adapter):
    """Wraps linear layers of the encoder, whose own weights are frozen; pooling and head learn in full.

    Where a parametrization masks the weight of a layer (pruning, recovery), the update is masked as well in every
    forward pass: zeros then survive merging, and the merged network computes what was trained.

    Args:
        targets: name endings of the linear layers to wrap; where none matches, parts of a layer by role
            (`clinlm.models.structure.LINEARS`), of which a factorised one is two layers.
        learning_rate_factor: see `Adapter`.

    Raises:
        ConfigError: a value outside its range, or (in `attach`) a target without a linear layer in the encoder.
    """

    wraps = True
    kind: ClassVar[type[BaseTuner]]
    """Peft's class of model."""

    def __init__(self, targets: Sequence[str], learning_rate_factor: float = 1.0) -> None:
        check_list("adapter.targets", targets)
        check_at_least("length of adapter.targets", len(targets), 1)
        check_positive("adapter.learning_rate_factor", learning_rate_factor)
        self.targets, self.learning_rate_factor = list(targets), learning_rate_factor

    @abstractmethod
    def config(self, names: Mapping[str, Sequence[str]]) -> PeftConfig:
        """Return the configuration.

        Args:
            names: target -> full names of its linear layers in the encoder.
        """

    def masked(self, layer: Any, masks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        """Return what a wrapped layer computes where `masks` keep weights at zero: by default, what it would anyway.

        Args:
            layer: peft's layer, whose base layer is masked.
            masks: parametrizations; each maps a weight to one with zeros.
        """
        outputs: Tensor = type(layer).forward(layer, inputs)
        return outputs

    @final
    def check(self, network: Network) -> None:
        target_names(network.body, self.targets)

    @final
    def attach(self, network: Network) -> None:
        names = target_names(network.body, self.targets)
        with torch.no_grad():  # peft freezes `layer.weight`; of a masked layer that is computed, and has to be a leaf
            network.body = self.kind(network.body, self.config(names), ADAPTER)
        for layer in tuner_layers(network.body):
            masks = masks_of(layer.get_base_layer())
            if masks:
                self.start_masked(layer, masks)

    def start_masked(self, layer: Any, masks: Sequence[nn.Module]) -> None:
        """Make a wrapped layer compute `masked`."""
        layer.forward = lambda inputs: self.masked(layer, masks, inputs)

    @final
    def merge(self, network: Network) -> None:
        if not isinstance(network.body, BaseTuner):
            raise RuntimeError("an adapter must be attached to a network before it is merged")
        network.body = network.body.merge_and_unload()
        network.requires_grad_(True)


def target_names(body: nn.Module, targets: Sequence[str]) -> dict[str, list[str]]:
    """Return the full names of the linear layers that each target matches.

    Raises:
        ConfigError: one matches none.
    """
    names = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)]
    found = {target: _matching(body, target, names) for target in targets}
    unknown = [target for target, matches in found.items() if not matches]
    if unknown:
        raise ConfigError(
            f"adapter.targets must match linear layers of the encoder, got {unknown}; "
            f"{type(body).__name__} has {sorted({name.rpartition('.')[2] for name in names})}"
        )
    return found


def tuner_layers(body: nn.Module) -> list[Any]:
    """Return the layers of peft in a network."""
    return [module for module in body.modules() if isinstance(module, BaseTunerLayer)]


def masks_of(linear: nn.Module) -> list[nn.Module]:
    """Return the parametrizations of the weight of a layer, in the order in which they act."""
    if not parametrize.is_parametrized(linear, "weight"):
        return []
    return list(linear.get_submodule("parametrizations.weight").children())


def _matching(body: nn.Module, target: str, names: Sequence[str]) -> list[str]:
    """Return the full names of the linear layers that `target` matches."""
    found = [name for name in names if f".{name}".endswith(f".{target}")]
    if found or target not in structure.LINEARS:
        return found
    parts = [layer[target] for layer in structure.linear_names(body) if target in layer]
    return [name for name in names if any(f"{name}.".startswith(f"{part}.") for part in parts)]
