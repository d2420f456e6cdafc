"""Lightning's progress bar of a stage: it draws nothing itself, but keeps a `StageProgress` up to date."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any, final

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar

from clinlm.tracking.epoch_judge import EpochJudge
from clinlm.tracking.stage_progress import StageProgress

log = logging.getLogger(__name__)


@final
class StageBar(ProgressBar):
    """Notes epochs, steps, the monitored metric and the time left, and logs a line an epoch.

    It has no state, so that checkpoints are the same with and without it.

    Args:
        stage: to keep up to date.
        changed: called after every change.
        monitor: metric of a stage without early stopping, which names its own.
        judge: of the epochs of this stage; None for none.
    """

    def __init__(
        self, stage: StageProgress, changed: Callable[[], None], monitor: str, judge: EpochJudge | None = None
    ) -> None:
        super().__init__()
        self._judge = judge
        self.stage, self._changed, self._monitor, self._sign = stage, changed, monitor, 1.0
        self._first = 0
        self._began = self._epoch_began = time.monotonic()

    def enable(self) -> None:
        """Lightning's hook: there is nothing to draw."""

    def disable(self) -> None:
        """Lightning's hook: there is nothing to draw."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what is monitored, and where a resumed stage begins (Lightning's hook)."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                self._monitor, self._sign = callback.monitor, 1.0 if callback.mode == "max" else -1.0
                score = float(callback.best_score)
                self.stage.best = score if math.isfinite(score) else None
        self.stage.metric = self._monitor.removeprefix("val/")
        self.stage.epochs = int(trainer.max_epochs or 0)
        self._first, self._began = trainer.current_epoch, time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        self.stage.epoch, self.stage.step = trainer.current_epoch + 1, 0
        steps = trainer.num_training_batches
        self.stage.steps = int(steps) if math.isfinite(steps) else 0
        self._epoch_began = time.monotonic()
        self._changed()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook."""
        self.stage.step = batch_idx + 1
        self.stage.left = self._left(trainer.current_epoch, done=False)
        self._changed()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        if trainer.sanity_checking or self._monitor not in trainer.callback_metrics:
            return
        self.stage.now = value = _finite(trainer.callback_metrics[self._monitor])
        if value is not None and (self.stage.best is None or self._sign * (value - self.stage.best) > 0):
            self.stage.best = value
        self._changed()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line of the epoch (Lightning's hook)."""
        self.stage.left = self._left(trainer.current_epoch, done=True)
        self._changed()
        metrics = {name: _finite(trainer.callback_metrics.get(name)) for name in ("train/loss", "val/loss")}
        parts = [f"{name} {value:.4f}" for name, value in metrics.items() if value is not None]
        if self.stage.now is not None and self.stage.best is not None:
            parts.append(f"{self._monitor} {self.stage.now:.4f} (best {self.stage.best:.4f})")
        took = f"{time.monotonic() - self._epoch_began:.0f} s"
        left = f", about {self.stage.left:.0f} s left" if self.stage.left else ""
        where = f"{self.stage.name}: epoch {trainer.current_epoch + 1} of {self.stage.epochs}"
        log.info("%s: %s; %s%s", where, ", ".join(parts), took, left)
        if self._judge is not None and self.stage.now is not None:
            self._judge.judge(trainer.current_epoch + 1, self.stage.now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook: what follows is measured, and how long that takes is not known."""
        self.stage.state, self.stage.left = "measuring", None
        self._changed()

    def _left(self, epoch: int, done: bool) -> float | None:
        """Return the seconds that training still needs, at the pace so far."""
        now = time.monotonic()
        whole = epoch - self._first + done  # epochs of this attempt
        if whole:
            ended = now if done else self._epoch_began
            expected = (ended - self._began) / whole * (self.stage.epochs - epoch - done)
            return max(0.0, expected - (0.0 if done else now - self._epoch_began))
        share = self.stage.step / self.stage.steps if self.stage.steps else 0.0
        elapsed = now - self._began
        return elapsed / share * (self.stage.epochs - epoch) - elapsed if share else None


def _finite(value: Any) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
