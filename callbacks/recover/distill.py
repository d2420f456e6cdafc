"""Recovery from a teacher's logits."""

from typing import final

from callbacks.recover.base import Recovery
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import Module
from clinlm.training.modules.student import distilling


@final
class Distill(Recovery):
    """Fine-tune on labels and on the logits of the stage's teacher, usually the model as it was before compression.

    Source    Sanh et al. 2020, "Movement pruning", arXiv:2005.07683, section 6: distillation as pruned weights recover.
    Changes   weights; shapes and zeros stay.
    Cost      `epochs` of training; the teacher's logits once.

    Args:
        distill: the loss.
        epochs, learning_rate, head_learning_rate: see `Recovery`.
    """

    needs_teacher = True

    def __init__(
        self,
        distill: Distillation,
        epochs: int = 1,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
    ) -> None:
        super().__init__(epochs, learning_rate, head_learning_rate)
        self.distill = distill

    def prepare(self, module: Module) -> None:
        """See `Recovery.prepare`."""
        module.objective = distilling(self.distill, module.task)
