"""Recovery: training after compression that keeps shapes and zeros."""

from typing import final

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import as_module
from clinlm.compression.masks import KeepZeros
from clinlm.config.errors import ConfigError, ModelError
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module, predict
from clinlm.training.promises import RecoveryQuality
from clinlm.training.stage_callback import StageCallback


@final
class Finetune(StageCallback):
    """Fine-tune after compression, on the objective of the stage's module: labels, or also a teacher's logits.

    Every exact zero of a linear weight stays zero: training leaves no exact zeros behind, so a zero was pruned. An
    update that an adapter such as LoRA learns is masked in training as well (`clinlm.models.adapters.tuner`).

    Source    Smart GRIFFIN, section 2.3: one epoch after pruning. From a teacher's logits (a stage whose module is
              `distill`): Sanh et al. 2020, "Movement pruning", arXiv:2005.07683, section 6.
    Changes   weights; shapes and zeros stay.
    Cost      `epochs` of training.

    Args:
        epochs: number of epochs, at least 1, unless the stage sets `epochs`.
        learning_rate: peak, of the body; positive.
        head_learning_rate: peak, of the head; None for the body's.
    """

    def __init__(self, epochs: int = 1, learning_rate: float = 5e-5, head_learning_rate: float | None = None) -> None:
        if epochs < 1:
            raise ConfigError(
                f"recover.epochs must be at least 1, got {epochs}; to recover nothing remove the stage (~stages.NAME)"
            )
        self.epochs, self.learning_rate, self.head_learning_rate = epochs, learning_rate, head_learning_rate
        self._quality: list[RecoveryQuality] = []
        self._shapes: dict[str, torch.Size] = {}
        self._masks: list[tuple[nn.Linear, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook, called after those of methods listed before this one, so that what they cut is kept."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        if trainer.max_epochs == 0:
            trainer.fit_loop.max_epochs = self.epochs
        module.optimizer = module.optimizer.at(self.learning_rate, self.head_learning_rate)
        self._quality = [RecoveryQuality("before", _measure(module))]
        self._shapes = _shapes(module.network)
        for linear in _with_zeros(module.network):
            mask = linear.weight.detach() != 0
            parametrize.register_parametrization(linear, "weight", KeepZeros(mask))
            self._masks.append((linear, mask))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, called before the adapter merges: an update of a parametrized weight would be lost."""
        for linear, _ in self._masks:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)

    @torch.no_grad()
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook, called after merging: apply the masks to the update, check shapes, measure again."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        for linear, mask in self._masks:
            linear.weight.mul_(mask.to(linear.weight.device))
        shapes = _shapes(module.network)
        if shapes != self._shapes:
            changed = sorted(set(shapes.items()) ^ set(self._shapes.items()))[:3]
            raise ModelError(f"recovery must keep every shape, but these changed: {changed}")
        self._quality.append(RecoveryQuality("after", _measure(module)))

    def report(self) -> MethodReport:
        """Return the quality on validation before and after."""
        return MethodReport(tuple(self._quality))


def _measure(module: Module) -> dict[str, float]:
    """Return the quality on validation, with thresholds fitted on the same documents."""
    loader = module.data.loader(module.task.examples.members("validation"))
    return module.task.validation_metrics(predict(module.network, loader, module.task.long_notes)[1])


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Return shapes by name; a parametrized weight has its own name, not that of its parametrization."""
    named = network.named_parameters()
    return {name.replace("parametrizations.", "").removesuffix(".original"): p.shape for name, p in named}


def _with_zeros(network: nn.Module) -> list[nn.Linear]:
    """Return the layers with zeros, without those that a pruning method of the same stage masks itself."""
    linears = [m for m in network.modules() if isinstance(m, nn.Linear) and not parametrize.is_parametrized(m)]
    return [linear for linear in linears if bool((linear.weight == 0).any())]
