"""Base of all modules: trains a model on a task with an objective."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import CatMetric

from clinlm.config.errors import TrainingError
from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model, Network
from clinlm.tasks.batches import Batch, unit_logits
from clinlm.tasks.data import TaskData
from clinlm.text.long_notes import LongNotes
from clinlm.training.attention import fast_attention
from clinlm.training.optimizer import AdamW
from clinlm.training.ranks import count_units, mean_of_ranks, whole_batch

log = logging.getLogger(__name__)
_SHOWN = ("micro_f1", "macro_f1", "macro_auroc")
Objective = Callable[[Tensor, Batch], Tensor]
"""Maps logits (units, outputs) and their batch to the loss."""


class Module(LightningModule):
    """A model on a task. Subclasses define the loss; the adapter decides which weights train.

    Args:
        model: to train; changed in place.
        data: a task, tokenized for the model.
        adapter: decides which weights train.
        seed: of dropout; every epoch is seeded anew, so that a resumed run draws the same numbers as an unbroken one.

    Attributes:
        trainable: number of weights of the network that learn; 0 before training.
    """

    needs_teacher: ClassVar[bool] = False
    answers: ClassVar[bool] = True
    """Whether it learns to predict the task's labels; if not, no gate or report evaluates its predictions."""

    @classmethod
    def imitates(cls, arguments: Mapping[str, Any]) -> bool:
        """Return whether a module with these arguments needs a teacher's network in training."""
        return False

    def __init__(
        self, model: Model, data: TaskData, adapter: Adapter, optimizer: AdamW, objective: Objective, seed: int = 0
    ) -> None:
        super().__init__()
        self.model, self.network = model, model.network
        self.data, self.task = data, data.task
        self.adapter, self.optimizer, self.objective, self.seed = adapter, optimizer, objective, seed
        # torchmetrics gathers them over batches and ranks. Numbers of units need the exact integers of float64.
        self._units = CatMetric(nan_strategy="disable").set_dtype(torch.float64)
        self._logits = CatMetric(nan_strategy="disable")
        self.trainable = 0
        self._steps = 0
        self._encoder: Any = getattr(model.network.body, "config", None)

    def forward(self, batch: Batch) -> Float[Tensor, "units outputs"]:
        """Return the logits of every unit of the batch; in training those of a wide branch come with the batch."""
        logits = document_logits(self.network, batch, self.task.long_notes)
        wide = self.network.wide
        if wide is None or not self.network.training or "wide_logits" not in batch:
            return logits
        return wide.mean(logits, batch["wide_logits"])

    def setup(self, stage: str) -> None:
        """Attach the adapter (Lightning's hook): it runs after those of callbacks, so shapes are final.

        Raises:
            ValueError: the network has integer weights, which cannot train.
        """
        if stage == "fit":
            structure.check_trainable(self.network)
            body = self.network.body
            self._encoder = body.config
            self.adapter.attach(self.network)
            self.prepare(body)

    @property
    def trains_partly(self) -> bool:
        """Whether weights that need a gradient get none in a step: of a head that nobody asks, or a wide branch."""
        return not self.answers or self.network.wide is not None

    def prepare(self, body: nn.Module) -> None:
        """Set up trainable parts outside the network, whose shapes are final and whose adapter is attached.

        Args:
            body: the encoder itself, even if an adapter wrapped it.
        """

    def training_loss(self, batch: Batch) -> Tensor:
        """Return the loss that a training step minimises."""
        return self.objective_loss(batch)

    @final
    def objective_loss(self, batch: Batch) -> Tensor:
        """Return the objective of the whole batch, of which a rank reads its part; see `whole_batch`."""
        return self.objective(*whole_batch(self(batch), batch))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed every epoch at its first batch (Lightning's hook).

        Not earlier: Lightning makes the loader's iterator before the first batch, which draws a random number, except
        in the epoch that a resumed run begins with. Every rank draws numbers of its own.
        """
        if batch_idx == 0:
            torch.manual_seed(self.seed * 1_000_003 + self.current_epoch + (self.global_rank << 40))

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        """Return the loss of a step, and log it (Lightning's hook).

        Raises:
            TrainingError: the loss is NaN or infinite: no later step can mend the weights.
        """
        with fast_attention(self._encoder):
            loss = self.training_loss(batch)
        penalty = self.adapter.penalty(self.network)
        loss = loss if penalty is None else loss + penalty
        whole = self.log_loss("train/loss", loss, batch)
        self.check_finite(whole, f"loss in step {batch_number + 1:,}")
        return loss

    @final
    def log_loss(self, name: str, loss: Tensor, batch: Batch) -> Tensor:
        """Log the mean of a training loss over ranks and over an epoch; return that over ranks.

        What is logged is the same on every rank. Lightning's `sync_dist` would wait for the others whenever a callback
        of one rank, such as a progress bar, reads a metric first.
        """
        whole = mean_of_ranks(loss.detach())
        self.log(name, whole, prog_bar=True, on_step=False, on_epoch=True, batch_size=count_units(batch))
        return whole

    def check_finite(self, values: Tensor, what: str) -> None:
        """Raise TrainingError, with the epoch, unless all values are finite."""
        if not values.isfinite().all():
            got = "NaN" if values.isnan().any() else "infinity"
            epochs = f"epoch {self.current_epoch + 1} of {self.trainer.max_epochs}"
            raise TrainingError(
                f"training diverged in {epochs}: the {what} must be finite, got {got}; lower the learning rate, or "
                "raise the warm-up (optimizer.warmup)"
            )

    def on_train_start(self) -> None:
        """Remember which step a resumed fit begins with (Lightning's hook)."""
        self._steps = self.trainer.global_step

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the adapter act after an optimiser step (Lightning's hook); not every batch ends with one."""
        if self.trainer.global_step > self._steps:
            self._steps = self.trainer.global_step
            self.adapter.step(self.network, self._steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save what the adapter has besides tensors (Lightning's hook)."""
        checkpoint["adapter"] = self.adapter.state(self.network)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it (Lightning's hook)."""
        self.adapter.restore(self.network, checkpoint["adapter"])

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Collect the logits (Lightning's hook): metrics such as F1 are not means over batches.

        Raises:
            TrainingError: a logit is NaN or infinite.
        """
        logits = self(batch)
        self.check_finite(logits, "logits on validation")  # an update may have spoilt the weights after a finite loss
        self._units.update(batch["index"])
        self._logits.update(logits.float())

    def on_validation_epoch_end(self) -> None:
        """Log loss and all metrics of the task, over all validation documents (Lightning's hook)."""
        found = self._units.compute().reshape(-1).long().cpu()
        logits = self._logits.compute().reshape(len(found), -1).cpu()  # of one document they lose a dimension
        self._units.reset()
        self._logits.reset()
        index, first = np.unique(found.numpy(), return_index=True)  # ranks repeat what they do not count
        logits = logits[torch.from_numpy(first)]
        loss = self.task.loss(logits, self.data.targets[torch.from_numpy(index)].float())
        self.log("val/loss", loss, prog_bar=True)
        if len(index) == len(self.task.examples.units("validation")):  # else a few batches only (fast_dev_run)
            metrics = self.task.validation_metrics(logits.numpy())
            self.log_dict({f"val/{name}": value for name, value in metrics.items() if np.isfinite(value)})
            if self.trainer.progress_bar_callback is None:  # log one line an epoch instead
                shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name in _SHOWN)
                log.info("epoch %d of %s on validation: %s", self.current_epoch + 1, self.trainer.max_epochs, shown)

    def configure_optimizers(self) -> Any:
        """Return optimizer and schedule (Lightning's hook)."""
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        self.adapter.schedule(self.network, steps)
        self.trainable = sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        own = {id(parameter) for parameter in self.network.parameters()}
        extra = [parameter for parameter in self.parameters() if id(parameter) not in own]
        settings = self.optimizer.multiplied(self.adapter.learning_rate_factor)
        optimizer, schedule = settings.build(self.network, steps, extra)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @final
    def on_fit_end(self) -> None:
        """Merge the adapter (Lightning's hook): before `teardown` of callbacks, which finalise plain modules."""
        self.adapter.merge(self.network)


def document_logits(network: Network, batch: Batch, long_notes: LongNotes) -> Float[Tensor, "units outputs"]:
    """Return the logits of every unit of the batch: a document, or a word."""
    return unit_logits(network(batch["input_ids"], batch["attention_mask"]), batch, long_notes)


@torch.no_grad()
def predict(
    network: Network, loader: DataLoader[Any], long_notes: LongNotes, advance: Callable[[int], None] | None = None
) -> tuple[Int[np.ndarray, " units"], Float[np.ndarray, "units outputs"]]:
    """Return the numbers of units, ascending, and their logits, computed without dropout.

    Args:
        network: its mode is restored afterwards.
        loader: of batches; see `TaskData.loader`.
        advance: called with the number of documents after every batch.
    """
    training, device = network.training, next(network.parameters()).device
    network.eval()
    index, logits = [], []
    for batch in loader:
        moved = {name: value.to(device) for name, value in batch.items()}
        index.append(batch["index"].numpy())
        logits.append(document_logits(network, moved, long_notes).float().cpu().numpy())
        if advance is not None:
            advance(int(batch["document"][-1]) + 1)
    network.train(training)
    numbers = np.concatenate(index)
    order = np.argsort(numbers)
    return numbers[order], np.concatenate(logits)[order]
