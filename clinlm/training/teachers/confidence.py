"""Members weighted for every document by how sure they are of it."""

from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.ensemble import Ensemble, log_sigmoid, pooled
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


@final
@dataclass(frozen=True)
class Confidence(Ensemble):
    """The weighted mean of the probabilities, with weights softmax(-entropy / `temperature`) over the members.

    Entropy is that of one distribution, of a document over its classes or of one label of a document, over its largest
    possible value, so in [0, 1]. Learning from the weighted mean of probabilities has the same gradient as the sum of
    the members' weighted divergences, which is what the sources write.

    Source: Kwon et al. 2020, "Adaptive knowledge distillation based on entropy", ICASSP (weights of several teachers
    by the entropy of their answers); Zhang et al. 2022, "Confidence-aware multi-teacher knowledge distillation",
    arXiv:2201.00007. We depart from the second, which weighs by the cross-entropy with the true label: ours needs no
    label, so it serves transfer sets and new notes as well; and from both in the temperature.

    Attributes:
        temperature: positive; the smaller, the more the surest member decides; large for the mean of probabilities.

    Raises:
        ValueError: a temperature that is not positive.
    """

    temperature: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"ensemble.temperature is positive and finite; got {self.temperature}")

    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """See `Ensemble.fit`; nothing is fitted."""
        mean = np.exp(log_weights(validation, kind, self.temperature)).mean(1)
        weights = np.broadcast_to(mean, (len(validation), validation.shape[2])).copy()
        return LogitCombination(partial(_combine, kind, self.temperature), weights)


def _combine(kind: Kind, temperature: float, logits: TeacherLogits) -> Logits:
    return pooled(log_weights(logits, kind, temperature), logits, kind)


def log_weights(logits: TeacherLogits, kind: Kind, temperature: float) -> Float[np.ndarray, "..."]:
    """Return the logarithms of the weights, members x documents x (outputs, or 1 for shares of one whole)."""
    return np.asarray(log_softmax(-entropy(logits.astype(np.float64), kind) / temperature, axis=0))


def entropy(logits: Float[np.ndarray, "..."], kind: Kind) -> Float[np.ndarray, "..."]:
    """Return the entropy of every distribution over its largest possible value."""
    if kind != "multilabel":
        logs = log_softmax(logits, axis=2)
        return np.asarray(-(np.exp(logs) * logs).sum(2, keepdims=True) / np.log(max(2, logits.shape[2])))
    positive, negative = log_sigmoid(logits), log_sigmoid(-logits)
    return np.asarray(-(np.exp(positive) * positive + np.exp(negative) * negative) / np.log(2))
