"""Quantisation-aware training on the labels and on a teacher's logits."""

from collections.abc import Sequence
from typing import final

from callbacks.quantize.aware import QuantizationAware
from clinlm.training.distillation import Distillation
from clinlm.training.modules.base import Module
from clinlm.training.modules.student import distilling


@final
class QatDistill(QuantizationAware):
    """As `qat`, learning also from the logits of the stage's teacher, usually the model before quantisation.

    Source    S4 (distillation + QAT); Polino et al. 2018, "Model compression via distillation and quantization",
              arXiv:1802.05668, section 3.
    Changes   as `qat`.
    Needs     a teacher: the stage's `teachers`, or the latest artifact of role teacher; documents as `qat`.
    Cost      as `qat`; the teacher's logits once.
    Departs   as `qat`.
    Clashes   as `qat`.

    Args:
        distill: the loss.
        epochs, learning_rate, head_learning_rate, freeze_at, documents: see `QuantizationAware`.
        skip, spare, sensitivity_documents, seed: see `Quantization`.
    """

    needs_teacher = True

    def __init__(
        self,
        distill: Distillation,
        epochs: int = 3,
        learning_rate: float = 5e-5,
        head_learning_rate: float | None = None,
        freeze_at: float = 0.6,
        documents: int = 128,
        skip: Sequence[str] = (),
        spare: int = 0,
        sensitivity_documents: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(
            epochs, learning_rate, head_learning_rate, freeze_at, documents, skip, spare, sensitivity_documents, seed
        )
        self.distill = distill

    def aim(self, module: Module) -> None:
        """See `QuantizationAware.aim`."""
        module.objective = distilling(self.distill, module.task)
