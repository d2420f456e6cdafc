"""What every recovery does: train for a while with its own learning rate, keep shapes and zeros, say what it gained."""

from abc import ABC
from typing import Any, ClassVar, final

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from callbacks.base import as_module
from clinlm.modules.base import Module, predict


class Recovery(Callback, ABC):
    """Fine-tuning after compression. Subclasses are final and may set another objective in `prepare`.

    Every exact zero of a linear weight stays zero: training leaves no exact zeros behind, so a zero was pruned.

    Args:
        epochs: how long, at least 1.
        learning_rate: peak, of the body; positive.
        head_learning_rate: peak, of the head; None for the body's.
    """

    needs_teacher: ClassVar[bool] = False

    def __init__(self, epochs: int = 1, learning_rate: float = 5e-5, head_learning_rate: float | None = None) -> None:
        if epochs < 1:
            raise ValueError(
                f"recover.epochs is at least 1; got {epochs}; take the stage out (~stages.NAME) to recover nothing"
            )
        self.epochs, self.learning_rate, self.head_learning_rate = epochs, learning_rate, head_learning_rate
        self._quality: list[dict[str, Any]] = []
        self._shapes: dict[str, torch.Size] = {}

    def prepare(self, module: Module) -> None:
        """Change the module's objective, if this recovery has its own."""

    @final
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook, after those of the methods listed before: what they cut is kept."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        trainer.fit_loop.max_epochs = self.epochs
        module.optimizer = module.optimizer.at(self.learning_rate, self.head_learning_rate)
        self.prepare(module)
        self._quality = [{"when": "before"} | measured(module)]
        self._shapes = {name: p.shape for name, p in module.network.named_parameters()}
        for linear in _with_zeros(module.network):
            parametrize.register_parametrization(linear, "weight", KeepZeros(linear.weight.detach() != 0))

    @final
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook: bake the masks, check the promise, measure again."""
        if stage != "fit":
            return
        module = as_module(pl_module)
        for linear in [m for m in module.network.modules() if parametrize.is_parametrized(m, "weight")]:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
        shapes = {name: p.shape for name, p in module.network.named_parameters()}
        if shapes != self._shapes:
            changed = sorted(set(shapes.items()) ^ set(self._shapes.items()))[:3]
            raise RuntimeError(f"recovery keeps every shape; these changed: {changed}")
        self._quality.append({"when": "after"} | measured(module))

    @final
    def report(self) -> list[dict[str, Any]]:
        """Return the quality on validation before and after."""
        return self._quality


class KeepZeros(nn.Module):
    """A parametrization that multiplies by a fixed mask: zeros stay zero through every optimiser step."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=True)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` with the masked entries zero."""
        return weight * self.mask


def measured(module: Module) -> dict[str, float]:
    """Return the quality on validation, thresholds fitted on the same documents."""
    loader = module.task.loader(module.task.examples.members("validation"))
    return module.task.validation_metrics(predict(module.network, loader, module.task.long_notes)[1])


def _with_zeros(network: nn.Module) -> list[nn.Linear]:
    return [m for m in network.modules() if isinstance(m, nn.Linear) and bool((m.weight == 0).any())]
