"""Learning from labels."""

from typing import final

from torch import Tensor

from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.modules.base import Module
from clinlm.training.optimizer import AdamW


@final
class Teacher(Module):
    """A model that learns from the labels alone: the task's own loss. Arguments as `Module`."""

    def __init__(self, model: Model, data: TaskData, adapter: Adapter, optimizer: AdamW, seed: int = 0) -> None:
        task = data.task
        super().__init__(model, data, adapter, optimizer, lambda logits, batch: supervised(task, logits, batch), seed)


def supervised(task: Task, logits: Tensor, batch: Batch) -> Tensor:
    """Return the task's own loss.

    Raises:
        ValueError: there is a transfer set, which has no labels.
    """
    if "labelled" in batch:
        raise ValueError(
            "a transfer set has no labels, only a teacher's logits; this stage learns from labels alone; leave its "
            "`augmentation` out"
        )
    return task.loss(logits, batch["targets"])
