"""Learning from labels and from a teacher's logits."""

from typing import final

from torch import Tensor

from clinlm.adapters.base import Adapter
from clinlm.batches import Batch
from clinlm.distill import Distillation
from clinlm.model import Model
from clinlm.modules.base import Module, Objective
from clinlm.optimizer import AdamW
from clinlm.task import Task


@final
class Student(Module):
    """A model that learns from labels and from its teachers' logits: they come with the batch, computed only once.

    Args:
        distill: the loss.
        learning_rate: peak, of the body: a student that starts from little wants another than its teacher; None for
            that of `optimizer`. The rest as `Module`.
    """

    needs_teacher = True

    def __init__(
        self,
        model: Model,
        task: Task,
        adapter: Adapter,
        optimizer: AdamW,
        distill: Distillation,
        learning_rate: float | None = None,
        seed: int = 0,
    ) -> None:
        if learning_rate is not None:
            optimizer = optimizer.at(learning_rate, optimizer.head_learning_rate)
        super().__init__(model, task, adapter, optimizer, distilling(distill, task), seed)


def distilling(distill: Distillation, task: Task) -> Objective:
    """Return the objective of a student."""

    def objective(logits: Tensor, batch: Batch) -> Tensor:
        if "teacher_logits" not in batch:
            raise ValueError("distillation needs a teacher's logits; this stage has no teacher; set its `teachers`")
        return distill.loss(logits, batch["teacher_logits"], batch["targets"], task.loss)

    return objective
