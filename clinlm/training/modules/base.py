"""What every module does: train a model on a task with an objective, and hand the model back."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clinlm.models import structure
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model, Network
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.text.long_notes import LongNotes, unit_logits
from clinlm.training.optimizer import AdamW

log = logging.getLogger(__name__)
_SHOWN = ("micro_f1", "macro_f1", "macro_auroc")
Objective = Callable[[Tensor, Batch], Tensor]
"""From logits (units, outputs) and their batch to the loss."""


class Module(LightningModule):
    """A model on a task. Subclasses say what the loss is. What learns is the adapter's affair.

    Args:
        model: what to train; changed in place.
        data: a task, tokenized for the model.
        adapter: what learns.
        optimizer: how.
        objective: the loss.
        seed: of dropout; every epoch is seeded by itself, so that a resumed run draws what an unbroken one would.
    """

    needs_teacher: ClassVar[bool] = False
    answers: ClassVar[bool] = True
    """Whether it learns to answer the task; if not, nobody judges it by its answers."""

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
        self._validated: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> Float[Tensor, "units outputs"]:
        """Return the logits of every unit of the batch."""
        return document_logits(self.network, batch, self.task.long_notes)

    def setup(self, stage: str) -> None:
        """Lightning's hook, after every callback's: shapes are final, so the adapter may take its place.

        Raises:
            ValueError: the network has integer weights, of which nothing learns.
        """
        if stage == "fit":
            structure.check_trainable(self.network)
            body = self.network.body
            self.adapter.attach(self.network)
            self.prepare(body)

    def prepare(self, body: nn.Module) -> None:
        """Set up what learns beside the network: its shapes are final, and its adapter is in place.

        Args:
            body: the encoder itself, also where an adapter wrapped it.
        """

    def training_loss(self, batch: Batch) -> Tensor:
        """Return what a training step minimises."""
        return self.objective(self(batch), batch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Lightning's hook: one seed an epoch, set at its first batch.

        Between the start of an epoch and its first batch Lightning makes the loader's iterator, which draws a random
        number, but not in the epoch that a resumed run begins with.
        """
        if batch_idx == 0:
            torch.manual_seed(self.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Batch, batch_number: int) -> Tensor:
        """Lightning's hook."""
        loss = self.training_loss(batch)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch["index"]))
        return loss

    def validation_step(self, batch: Batch, batch_number: int) -> None:
        """Lightning's hook: keep the logits; metrics such as F1 are no mean over batches."""
        logits = self(batch)
        loss = self.task.loss(logits, batch["targets"])
        self.log("val/loss", loss, prog_bar=True, batch_size=len(batch["index"]))
        self._validated.append((batch["index"].cpu(), logits.float().cpu()))

    def on_validation_epoch_end(self) -> None:
        """Lightning's hook: all metrics of the task, over all validation documents."""
        index, logits = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        units = self.task.examples.units("validation")
        if len(index) == len(units):  # a run on a few batches (fast_dev_run) measures nothing
            metrics = self.task.validation_metrics(logits[index.argsort()].numpy())
            self.log_dict({f"val/{name}": value for name, value in metrics.items() if np.isfinite(value)})
            if self.trainer.progress_bar_callback is None:  # nobody watches a bar: leave a line an epoch
                shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name in _SHOWN)
                log.info("epoch %d of %s on validation: %s", self.current_epoch + 1, self.trainer.max_epochs, shown)

    def configure_optimizers(self) -> Any:
        """Lightning's hook."""
        steps = self.trainer.estimated_stepping_batches
        own = {id(parameter) for parameter in self.network.parameters()}
        beside = [parameter for parameter in self.parameters() if id(parameter) not in own]
        optimizer, schedule = self.optimizer.build(self.network, max(1, int(steps)), beside)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @final
    def on_fit_end(self) -> None:
        """Lightning's hook, before every callback's `teardown`: methods that finalise find plain modules."""
        self.adapter.merge(self.network)


def document_logits(network: Network, batch: Batch, long_notes: LongNotes) -> Float[Tensor, "units outputs"]:
    """Return the logits of every unit of the batch: of every document, or of every word."""
    return unit_logits(network(batch["input_ids"], batch["attention_mask"]), batch, long_notes)


@torch.no_grad()
def predict(
    network: Network, loader: DataLoader[Any], long_notes: LongNotes, advance: Callable[[int], None] | None = None
) -> tuple[Int[np.ndarray, " units"], Float[np.ndarray, "units outputs"]]:
    """Return the numbers of units, ascending, and their logits, without dropout.

    Args:
        network: put into evaluation mode, and back into the mode it was in.
        loader: of batches; see `TaskData.loader`.
        long_notes: of the task.
        advance: told the number of documents after every batch.
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
