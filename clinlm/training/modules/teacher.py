"""Teacher: trains on labels alone."""

from typing import final

from torch import Tensor

from clinlm.config.errors import ConfigError
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import Module
from clinlm.training.optimizer import AdamW


@final
class Teacher(Module):
    """A model that trains on labels with the task's own loss. Arguments as `Module`."""

    def __init__(self, model: Model, data: TaskData, adapter: Adapter, optimizer: AdamW, seed: int = 0) -> None:
        task = data.task
        super().__init__(model, data, adapter, optimizer, lambda logits, batch: supervised(task, logits, batch), seed)


def supervised(task: Task, logits: Tensor, batch: Batch) -> Tensor:
    """Return the task's own loss.

    Raises:
        ConfigError: the batch has texts of a transfer set, which have no labels.
    """
    if "labelled" in batch:
        raise ConfigError(
            "a stage that learns from labels alone must have no augmentation, whose texts have no labels; remove its "
            "`augmentation`"
        )
    loss: Tensor = task.loss(logits, batch["targets"])
    return loss
