"""The checkpoint that a killed stage resumes from."""

import time
from pathlib import Path
from typing import Any, Final, final

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

from clinlm.store.checkpoint import CHECKPOINT, put_checkpoint
from clinlm.tasks.batches import LengthLoader

FREE_S: Final = 0.5
"""Core-seconds of writing that never wait."""
SHARE: Final = 0.05
"""Largest share of writing in what training takes."""
_WITHIN: Final = "within_epoch"
"""Key in a checkpoint."""


@final
class Checkpoint(LightningCheckpoint):
    """Write `last.ckpt` into the stage's folder atomically, after epochs but never after the last.

    Where writing takes long (2 s of a core for MiniLM), it waits until training has taken 20 times as long since: of
    short epochs, some have no checkpoint, and a killed stage repeats those since the last one.

    SIGTERM ends a stage after the batch that it is in, with a checkpoint from which the next batch is the one that
    would have followed: the place in the loader, states of torch's random numbers and gradients that wait for others
    are in it. During validation, and on several ranks, it ends without one, and the epoch is repeated. Means over an
    epoch, such as train/loss in the curves, are then of the batches after it.

    A checkpoint of the last epoch would resume without training, and Lightning then never calls `on_train_end`, which
    restores the best epoch. A stage killed after its last epoch repeats that epoch.

    Lightning's own ModelCheckpoint moves its file from the system's temporary folder. Across file systems that is a
    copy, and a kill in the middle of it leaves half a checkpoint under the final name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cost_s, self._written = 0.0, 0.0
        self._resumed: dict[str, Any] | None = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the checkpoint of a stage that SIGTERM ends between two batches (Lightning's hook)."""
        within = trainer.training and trainer.fit_loop.batch_idx + 1 < trainer.num_training_batches
        if isinstance(exception, SIGTERMException) and within and trainer.world_size == 1:
            self._write(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what the middle of an epoch has besides (Lightning's hook)."""
        if trainer.received_sigterm:
            held = {name: own.grad for name, own in pl_module.named_parameters() if own.grad is not None}
            waits = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches > 0
            drawn = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]
            place = _loader(trainer).state_dict()
            checkpoint[_WITHIN] = {"random": drawn, "gradients": held if waits else {}, "loader": place}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Lightning's hook."""
        self._resumed = checkpoint.get(_WITHIN)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on behind the batches that were trained (Lightning's hook).

        Lightning has loaded no state of a loader that was asked for its length before, by a schedule of learning rates.
        """
        if self._resumed is not None:
            _loader(trainer).load_state_dict(self._resumed["loader"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore what the middle of an epoch had before its next batch (Lightning's hook).

        An epoch that begins is seeded later: see `clinlm.training.modules.base.Module`.
        """
        if self._resumed is None:
            return
        first, *others = self._resumed["random"]
        torch.set_rng_state(first)
        if others and torch.cuda.device_count() == len(others):
            torch.cuda.set_rng_state_all(others)
        parameters = dict(pl_module.named_parameters())
        for name, gradient in self._resumed["gradients"].items():
            parameters[name].grad = gradient.to(parameters[name].device)
        self._resumed = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook; a `Checkpoint` is always called last, so other callbacks have handled this epoch."""
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            return
        began = time.process_time()
        early = self._cost_s > FREE_S and began - self._written < self._cost_s / SHARE
        if trainer.strategy.reduce_boolean_decision(early and not trainer.received_sigterm):
            return
        self._write(trainer)
        self._written = time.process_time()
        self._cost_s = self._written - began

    def _write(self, trainer: Trainer) -> None:
        draft = Path(trainer.default_root_dir) / f".{CHECKPOINT}.draft"
        trainer.save_checkpoint(draft)
        if trainer.is_global_zero:
            put_checkpoint(draft)


def _loader(trainer: Trainer) -> LengthLoader:
    loader = trainer.train_dataloader
    assert isinstance(loader, LengthLoader)
    return loader
