"""The checkpoint that a killed stage resumes from."""

import time
from pathlib import Path
from typing import Final, final

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from clinlm.store.checkpoint import CHECKPOINT, put_checkpoint

FREE_S: Final = 0.5
"""Core-seconds of writing that never wait."""
SHARE: Final = 0.05
"""Largest share of writing in what training takes."""


@final
class Checkpoint(LightningCheckpoint):
    """Write `last.ckpt` into the stage's folder atomically, after epochs but never after the last.

    Where writing takes long (2 s of a core for MiniLM), it waits until training has taken 20 times as long since: of
    short epochs, some have no checkpoint, and a killed stage repeats those since the last one.

    A checkpoint of the last epoch would resume without training, and Lightning then never calls `on_train_end`, which
    restores the best epoch. A stage killed after its last epoch repeats that epoch.

    Lightning's own ModelCheckpoint moves its file from the system's temporary folder. Across file systems that is a
    copy, and a kill in the middle of it leaves half a checkpoint under the final name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cost_s, self._written = 0.0, 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; a `Checkpoint` is always called last, so other callbacks have handled this epoch."""
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        began = time.process_time()
        early = self._cost_s > FREE_S and began - self._written < self._cost_s / SHARE
        if trainer.strategy.reduce_boolean_decision(early):
            return
        draft = Path(trainer.default_root_dir) / f".{CHECKPOINT}.draft"
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            put_checkpoint(draft)
        self._written = time.process_time()
        self._cost_s = self._written - began
