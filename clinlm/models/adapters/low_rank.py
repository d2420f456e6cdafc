"""Base class of adapters that learn a low-rank update of a weight."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from peft import LoraConfig, LoraModel, PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn
from torch.nn import functional

from clinlm.config.ranges import check_at_least, check_interval
from clinlm.models.adapters.tuner import ADAPTER, Tuner

ATTENTION = ("query", "key", "value")
"""Targets by default, as in "five strategies for symptom extraction": the attention projections."""


class LowRank(Tuner):
    """The product of two thin matrices is added to the weight of a linear layer.

    Args:
        r: rank of the update, at least 1.
        alpha: scales the update; at least 1.
        dropout: before the update, in [0, 1).
        targets, learning_rate_factor: see `Tuner`.

    Raises:
        ConfigError: see `Tuner`.
    """

    kind: ClassVar[type[BaseTuner]] = LoraModel
    variant: ClassVar[Mapping[str, Any]] = {}
    """What the configuration of peft has besides the settings."""

    def __init__(
        self,
        r: int = 32,
        alpha: int = 64,
        dropout: float = 0.05,
        targets: Sequence[str] = ATTENTION,
        learning_rate_factor: float = 1.0,
    ) -> None:
        super().__init__(targets, learning_rate_factor)
        check_at_least("adapter.r", r, 1)
        check_at_least("adapter.alpha", alpha, 1)
        check_interval("adapter.dropout", dropout, "[0, 1)")
        self.r, self.alpha, self.dropout = r, alpha, dropout

    def config(self, names: Mapping[str, Sequence[str]]) -> PeftConfig:
        modules = [name for matches in names.values() for name in matches]
        return LoraConfig(
            r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=modules, **self.variant
        )

    def masked(self, layer: Any, masks: Sequence[nn.Module], inputs: Tensor) -> Tensor:
        return add_masked_update(layer, masks, inputs, layer.lora_dropout[ADAPTER])


def add_masked_update(layer: Any, masks: Sequence[nn.Module], inputs: Tensor, dropout: nn.Module) -> Tensor:
    """Return what a layer computes whose update of the weight is masked as the weight is."""
    update: Tensor = layer.get_delta_weight(ADAPTER)
    for mask in masks:
        update = mask(update)
    own: Tensor = layer.get_base_layer()(inputs)
    return own + functional.linear(dropout(inputs), update)
