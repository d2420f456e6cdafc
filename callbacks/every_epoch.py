"""The logits after every epoch, so that a report can be made of any epoch."""

from pathlib import Path
from typing import Any, final

import torch
from lightning import Callback, LightningModule, Trainer
from safetensors.torch import save_file
from torch import Tensor

from callbacks.base import as_module
from clinlm.models.artifact import EPOCHS
from clinlm.training.modules.base import predict

SPLITS = ("validation", "test")


@final
class EveryEpoch(Callback):
    """Keep the logits of validation and test documents after every epoch, in `epochs.safetensors` of the artifact.

    Some papers report their last epoch, others their best; `clinlm.report.epochs` shows both. Nothing is chosen by
    results on test documents. It costs one pass over both splits per epoch, about a seventh of training.

    The state is in `last.ckpt`, so that a resumed run has the epochs of the run that it continues.
    """

    def __init__(self) -> None:
        self.logits: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, called after validation and before the checkpoint."""
        if not trainer.is_global_zero:
            return
        module = as_module(pl_module)
        for split in SPLITS:
            loader = module.data.loader(module.task.examples.members(split))
            logits = predict(module.network, loader, module.task.long_notes)[1]
            self.logits[f"{split}/{trainer.current_epoch}"] = torch.from_numpy(logits)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; the stage seals the folder afterwards."""
        if self.logits:
            save_file(self.logits, Path(trainer.default_root_dir) / EPOCHS)

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook."""
        return {"logits": self.logits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.logits = dict(state_dict["logits"])
