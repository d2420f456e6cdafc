"""What every recovery does: train for a while with its own learning rate, keep shapes and zeros, say what it gained."""

from abc import ABC
from typing import final

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import as_module
from clinlm.compression.keep_zeros import KeepZeros
from clinlm.training.method_report import MethodReport
from clinlm.training.modules.base import Module, predict
from clinlm.training.promises import RecoveryQuality
from clinlm.training.stage_callback import StageCallback


class Recovery(StageCallback, ABC):
    """Fine-tuning after compression. Subclasses are final and may set another objective in `prepare`.

    Every exact zero of a linear weight stays zero: training leaves no exact zeros behind, so a zero was pruned. Where
    an adapter such as LoRA learns an update of a weight with zeros, what it learnt in their place is lost at merging.

    Args:
        epochs: how long, at least 1; where the stage itself sets `epochs`, that counts.
        learning_rate: peak, of the body; positive.
        head_learning_rate: peak, of the head; None for the body's.
    """

    def __init__(self, epochs: int = 1, learning_rate: float = 5e-5, head_learning_rate: float | None = None) -> None:
        if epochs < 1:
            raise ValueError(
                f"recover.epochs is at least 1; got {epochs}; take the stage out (~stages.NAME) to recover nothing"
            )
        self.epochs, self.learning_rate, self.head_learning_rate = epochs, learning_rate, head_learning_rate
        self._quality: list[RecoveryQuality] = []
        self._shapes: dict[str, torch.Size] = {}
        self._masks: list[tuple[nn.Linear, Tensor]] = []

    def prepare(self, module: Module) -> None:
        """Change the module's objective, if this recovery has its own."""

    @final
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook, after those of the methods listed before: what they cut is kept."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        if trainer.max_epochs == 0:
            trainer.fit_loop.max_epochs = self.epochs
        module.optimizer = module.optimizer.at(self.learning_rate, self.head_learning_rate)
        self.prepare(module)
        self._quality = [RecoveryQuality("before", measured(module))]
        self._shapes = _shapes(module.network)
        for linear in _with_zeros(module.network):
            mask = linear.weight.detach() != 0
            parametrize.register_parametrization(linear, "weight", KeepZeros(mask))
            self._masks.append((linear, mask))

    @final
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, before the adapter merges: an update added to a parametrized weight would be lost."""
        for linear, _ in self._masks:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)

    @final
    @torch.no_grad()
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook, after merging: cut the update to the masks, check the promise, measure again."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        for linear, mask in self._masks:
            linear.weight.mul_(mask.to(linear.weight.device))
        shapes = _shapes(module.network)
        if shapes != self._shapes:
            changed = sorted(set(shapes.items()) ^ set(self._shapes.items()))[:3]
            raise RuntimeError(f"recovery keeps every shape; these changed: {changed}")
        self._quality.append(RecoveryQuality("after", measured(module)))

    @final
    def report(self) -> MethodReport:
        """Return the quality on validation before and after."""
        return MethodReport(tuple(self._quality))


def measured(module: Module) -> dict[str, float]:
    """Return the quality on validation, thresholds fitted on the same documents."""
    loader = module.data.loader(module.task.examples.members("validation"))
    return module.task.validation_metrics(predict(module.network, loader, module.task.long_notes)[1])


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Shapes by name; the name of a parametrized weight is its own, and not that of its ingredient."""
    named = network.named_parameters()
    return {name.replace("parametrizations.", "").removesuffix(".original"): p.shape for name, p in named}


def _with_zeros(network: nn.Module) -> list[nn.Linear]:
    """Return what holds zeros, but for what a pruning method of the same stage masks, and keeps, itself."""
    linears = [m for m in network.modules() if isinstance(m, nn.Linear) and not parametrize.is_parametrized(m)]
    return [linear for linear in linears if bool((linear.weight == 0).any())]
