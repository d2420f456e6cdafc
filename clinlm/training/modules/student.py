"""Student: trains on labels, a teacher's logits and its hidden states."""

from typing import final

from torch import Tensor

from clinlm.config.errors import ConfigError
from clinlm.models.adapters.base import Adapter
from clinlm.models.model import Model
from clinlm.tasks.base import Task
from clinlm.tasks.batches import Batch
from clinlm.tasks.data import TaskData
from clinlm.training.distillation import Distillation
from clinlm.training.hidden_state_losses.base import HiddenStateLoss
from clinlm.training.modules.base import Objective
from clinlm.training.modules.imitation import Imitation
from clinlm.training.optimizer import AdamW


@final
class Student(Imitation):
    """A model that trains on labels and on its teachers' logits, which are computed once and come with the batch.

    Args:
        hidden_state_loss: compares hidden states with those of the first teacher's network; None for no such loss.
            They are computed in every step: those of a thousand notes would fill a disk.
        learning_rate: peak, of the body; a student with new weights needs another than its teacher. None for that of
            `optimizer`.
        teacher: the first teacher with a network, for `hidden_state_loss`. The rest as `Module`.
    """

    needs_teacher = True

    def __init__(
        self,
        model: Model,
        data: TaskData,
        adapter: Adapter,
        optimizer: AdamW,
        distill: Distillation,
        hidden_state_loss: HiddenStateLoss | None = None,
        learning_rate: float | None = None,
        teacher: Model | None = None,
        seed: int = 0,
    ) -> None:
        if learning_rate is not None:
            optimizer = optimizer.at(learning_rate, optimizer.head_learning_rate)
        super().__init__(
            model, data, adapter, optimizer, distilling(distill, data.task), hidden_state_loss, teacher, seed
        )

    def own_loss(self, batch: Batch) -> Tensor:
        return self.objective_loss(batch)


def distilling(distill: Distillation, task: Task) -> Objective:
    """Return the objective of a student; its supervised part counts documents with labels only."""

    def objective(logits: Tensor, batch: Batch) -> Tensor:
        if "teacher_logits" not in batch:
            raise ConfigError("distillation needs a teacher, got a stage without one; set its `teachers`")
        return distill.loss(logits, batch["teacher_logits"], batch["targets"], task.loss, batch.get("labelled"))

    return objective
