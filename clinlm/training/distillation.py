"""Distillation losses: pure functions of logits, and the mixture with the supervised loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from clinlm.config.errors import ConfigError

Logits = Float[Tensor, "documents outputs"]
Direction = Literal["teacher_to_student", "student_to_teacher"]
Reduction = Literal["batchmean", "mean", "sum"]


def softmax_kl(student: Logits, teacher: Logits, direction: Direction) -> Logits:
    """Return the terms of the Kullback-Leibler divergence between softmax distributions, which sum to it in each row.

    `teacher_to_student` is KL(p_t || p_s), the teacher as target, which is usual (Hinton et al. 2015,
    arXiv:1503.02531); `student_to_teacher` is KL(p_s || p_t), as in Smart GRIFFIN.
    """
    log_s, log_t = functional.log_softmax(student, -1), functional.log_softmax(teacher, -1)
    target, other = (log_t, log_s) if direction == "teacher_to_student" else (log_s, log_t)
    return target.exp() * (target - other)


def sigmoid_kl(student: Logits, teacher: Logits, direction: Direction) -> Logits:
    """Return the Kullback-Leibler divergence of every label's Bernoulli distribution.

    For labels that do not exclude each other: softmax would treat them as one distribution and lose their number.
    """
    target, other = (teacher, student) if direction == "teacher_to_student" else (student, teacher)
    positive = target.sigmoid() * (functional.logsigmoid(target) - functional.logsigmoid(other))
    negative = (-target).sigmoid() * (functional.logsigmoid(-target) - functional.logsigmoid(-other))
    return positive + negative


@final
@dataclass(frozen=True)
class Distillation:
    """`alpha` x soft loss + (1 - `alpha`) x supervised loss (Smart GRIFFIN, section 2.2: alpha 0.3, temperature 1).

    Attributes:
        alpha: weight of the soft loss, in [0, 1]. "Five strategies" calls the weight of the hard loss alpha: 1 - ours.
        temperature: divides both logits before the soft loss; positive.
        form: `softmax` (as Smart GRIFFIN, one distribution over all outputs) or `sigmoid` (one Bernoulli per label).
        direction: see `softmax_kl`. Smart GRIFFIN writes `student_to_teacher`; the default is the usual one.
        squared_temperature: multiply the soft loss by temperature**2, so that its gradients keep their size (Hinton et
            al.).
        reduction: `batchmean` sums over outputs and averages over documents (the mathematical divergence); `mean`
            averages over both, as OptimCLM's notebook, and is smaller by the number of outputs; `sum` averages over
            nothing.

    Raises:
        ConfigError: a value outside its range.
    """

    alpha: float = 0.3
    temperature: float = 1.0
    form: Literal["softmax", "sigmoid"] = "softmax"
    direction: Direction = "teacher_to_student"
    squared_temperature: bool = False
    reduction: Reduction = "batchmean"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"distill.alpha must be in [0, 1], got {self.alpha}")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"distill.temperature must be positive and finite, got {self.temperature}")
        for name, value, known in (
            ("form", self.form, ("softmax", "sigmoid")),
            ("direction", self.direction, ("teacher_to_student", "student_to_teacher")),
            ("reduction", self.reduction, ("batchmean", "mean", "sum")),
        ):
            if value not in known:
                raise ConfigError(f"distill.{name} must be one of {known}, got {value!r}")

    def soft(self, student: Logits, teacher: Logits) -> Float[Tensor, ""]:
        """Return the soft loss."""
        divergence = {"softmax": softmax_kl, "sigmoid": sigmoid_kl}[self.form]
        terms = divergence(student / self.temperature, teacher / self.temperature, self.direction)
        scale = self.temperature**2 if self.squared_temperature else 1.0
        if self.reduction == "mean":
            return scale * terms.mean()
        return scale * terms.sum() / (len(terms) if self.reduction == "batchmean" else 1)

    def loss(
        self,
        student: Logits,
        teacher: Logits,
        targets: Tensor,
        supervised: Callable[[Tensor, Tensor], Tensor],
        labelled: Bool[Tensor, " documents"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mixture; a part of weight zero is not computed.

        Args:
            targets: ignored where a document has no labels.
            supervised: the task's own loss of logits and targets, a mean over the documents with labels, so that both
                parts keep their weight however few these are; 0 without any.
            labelled: which documents have labels; None for all.
        """
        total = student[:0].sum()  # 0, with gradients also where neither part adds any
        if self.alpha > 0:
            total = total + self.alpha * self.soft(student, teacher)
        if labelled is not None:
            student, targets = student[labelled], targets[labelled]
        if self.alpha < 1 and len(student):
            total = total + (1 - self.alpha) * supervised(student, targets)
        return total
