"""Restores the best epoch after training."""

import math
from typing import Any, Literal, final

from lightning import LightningModule, Trainer
from torch import Tensor

from clinlm.config.errors import ConfigError
from clinlm.training.method_report import MethodReport
from clinlm.training.promises import BestEpoch
from clinlm.training.stage_callback import StageCallback


@final
class KeepBest(StageCallback):
    """Keep the weights of the best validation epoch, and restore them when training ends.

    The state is in `last.ckpt`, so that a resumed run has the best epoch of the run that it continues.

    Args:
        monitor: name of a logged validation metric.
        mode: whether more (`max`) or less (`min`) is better.
    """

    def __init__(self, monitor: str = "val/macro_f1", mode: Literal["max", "min"] = "max") -> None:
        self.monitor, self.mode = monitor, mode
        self.epoch, self.value = -1, float("nan")
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        better = value > self.value if self.mode == "max" else value < self.value
        if better or math.isnan(self.value):
            self.epoch, self.value = trainer.current_epoch, value
            self.weights = {name: t.detach().cpu().clone() for name, t in pl_module.state_dict().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook.

        Raises:
            ConfigError: no epoch logged the metric.
        """
        if not self.weights:
            known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
            raise ConfigError(f"monitor must be a validation metric, got {self.monitor!r}; set it to one of {known}")
        pl_module.load_state_dict(self.weights)
        self.weights = {}

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook."""
        return {"epoch": self.epoch, "value": self.value, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.epoch, self.value = state_dict["epoch"], state_dict["value"]
        self.weights = dict(state_dict["weights"])

    def report(self) -> MethodReport:
        """Return which epoch was kept, counted from 0: -1 and no value if none was validated."""
        value = None if math.isnan(self.value) else self.value
        return MethodReport((BestEpoch(self.epoch, self.monitor, value),))
