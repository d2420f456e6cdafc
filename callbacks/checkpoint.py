"""What a killed stage goes on from."""

import os
from pathlib import Path
from typing import final

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint


@final
class Checkpoint(LightningCheckpoint):
    """Write `last.ckpt` into the stage's folder after every epoch but the last, whole or not at all.

    After the last epoch there is nothing to go on with: a checkpoint of it would be resumed without training, and
    Lightning then never says that training ended, which is when the best epoch is put back. A stage killed after its
    last epoch repeats that epoch.

    Lightning's own ModelCheckpoint moves its file from the system's temporary folder; across file systems that is a
    copy, and a kill in the middle of it leaves half a checkpoint under the final name.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; a `Checkpoint` is always called last, when every other callback knows of this epoch."""
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        draft = Path(trainer.default_root_dir) / ".last.ckpt.draft"
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            os.replace(draft, draft.with_name("last.ckpt"))
