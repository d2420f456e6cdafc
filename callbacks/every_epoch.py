"""What the model says after every epoch, so that a report can be made of any of them."""

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

    A paper may report its last epoch, another its best: both can be read off (`clinlm.report.epochs`). Nothing is
    chosen by what is said of test documents. It costs one pass over both splits an epoch, about a seventh of training.

    The state travels in `last.ckpt`, so that a resumed run knows the epochs of the run it goes on from.
    """

    def __init__(self) -> None:
        self.logits: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook, after validation and before the checkpoint."""
        module = as_module(pl_module)
        for split in SPLITS:
            loader = module.data.loader(module.task.examples.members(split))
            logits = predict(module.network, loader, module.task.long_notes)[1]
            self.logits[f"{split}/{trainer.current_epoch}"] = torch.from_numpy(logits)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: the stage seals the folder afterwards."""
        if self.logits:
            save_file(self.logits, Path(trainer.default_root_dir) / EPOCHS)

    def state_dict(self) -> dict[str, Any]:
        """Lightning's hook."""
        return {"logits": self.logits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning's hook."""
        self.logits = dict(state_dict["logits"])
