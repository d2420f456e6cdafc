"""The base class of compression methods."""

import hashlib
from abc import ABC
from typing import Any, final

import torch
from lightning import LightningModule, Trainer
from torch import nn

from clinlm.config.errors import ModelError
from clinlm.training.modules.base import Module
from clinlm.training.stage_callback import StageCallback

# numpy has no bfloat16, so tensors are hashed as integers of the same width.
_BYTES = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Compression(StageCallback, ABC):
    """A compression method. A subclass is final and overrides at least one of three methods, never the hooks:

    - `prepare`: before optimisers exist, the only place where shapes may change. One-shot pruning acts here.
    - `step`: after every training batch, for gradual changes.
    - `finalize`: after training and the merging of adapters, also when nothing trained; never after a crash.

    Raises:
        ModelError: the method left every tensor as it was, or the network breaks a promise of its report.
    """

    @final
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook. A resumed fit prepares the parent artifact again; its checkpoint is loaded later."""
        if stage == "fit":
            module = as_module(pl_module)
            before = fingerprint(module.network)
            self.prepare(module)
            self._acted = fingerprint(module.network) != before

    @final
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook."""
        self.step(as_module(pl_module), trainer.global_step / max(1, int(trainer.estimated_stepping_batches)))

    @final
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lightning's hook. The strategy has moved the module to the CPU by now."""
        if stage == "fit":
            module = as_module(pl_module)
            before = fingerprint(module.network)
            self.finalize(module)
            if not self._acted and fingerprint(module.network) == before:
                raise ModelError(
                    f"a compression method must change the network; {type(self).__name__} left every tensor as it was"
                    f"{self.no_change_reason()}; change its settings or remove the stage"
                )
            broken = self.report().broken(module.model)
            if broken:
                raise ModelError(f"{type(self).__name__} must keep its promise after training; {broken}")

    def prepare(self, module: Module) -> None:
        """Change the network before training. Structural changes go through `module.model.apply(Edit(...))`."""

    def step(self, module: Module, progress: float) -> None:
        """Change the network during training; `progress` is the share of steps done, in [0, 1]."""

    def finalize(self, module: Module) -> None:
        """Change the network after training."""

    def no_change_reason(self) -> str:
        """Return why nothing may have changed, for the error message: in brackets after a space, or ""."""
        return ""


def as_module(module: LightningModule) -> Module:
    """Return `module`, checked to be a clinlm Module.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(module, Module):
        raise TypeError(f"methods need a clinlm Module, got {type(module).__name__}")
    return module


def fingerprint(network: nn.Module) -> str:
    """Return a digest of the names, shapes and values of all tensors."""
    total = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        total.update(
            tensor.detach().cpu().contiguous().flatten().view(dtype=_BYTES[tensor.element_size()]).numpy().data
        )
    return total.hexdigest()
