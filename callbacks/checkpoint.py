"""The checkpoint that a killed stage resumes from."""

from pathlib import Path
from typing import final

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from clinlm.store.checkpoint import CHECKPOINT, put_checkpoint


@final
class Checkpoint(LightningCheckpoint):
    """Write `last.ckpt` into the stage's folder atomically, after every epoch but the last.

    A checkpoint of the last epoch would resume without training, and Lightning then never calls `on_train_end`, which
    restores the best epoch. A stage killed after its last epoch repeats that epoch.

    Lightning's own ModelCheckpoint moves its file from the system's temporary folder. Across file systems that is a
    copy, and a kill in the middle of it leaves half a checkpoint under the final name.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; a `Checkpoint` is always called last, so other callbacks have handled this epoch."""
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        draft = Path(trainer.default_root_dir) / f".{CHECKPOINT}.draft"
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            put_checkpoint(draft)
