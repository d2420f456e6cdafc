"""Members weighted by their confidence, for every document."""

from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from clinlm.config.errors import ConfigError
from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.ensemble import Ensemble, log_sigmoid, pooled
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


@final
@dataclass(frozen=True)
class Confidence(Ensemble):
    """The weighted mean of the probabilities, with weights softmax(-entropy / `temperature`) over the members.

    Entropy is that of a document's classes, or of one label of a document, divided by its largest possible value, so in
    [0, 1]. Distilling the weighted mean of probabilities has the same gradient as the sum of the members' weighted
    divergences, which the papers use.

    Source: Kwon et al. 2020, "Adaptive knowledge distillation based on entropy", ICASSP (weights of several teachers
    by the entropy of their predictions); Zhang et al. 2022, "Confidence-aware multi-teacher knowledge distillation",
    arXiv:2201.00007. Departs from the second, which weighs by the cross-entropy with the true label: ours needs no
    label, so it works for transfer sets and new notes, too; and from both in the temperature.

    Attributes:
        temperature: positive; the smaller, the more the most confident member dominates; large: mean of probabilities.

    Raises:
        ConfigError: a temperature that is not positive.
    """

    temperature: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ConfigError(f"ensemble.temperature must be positive and finite, got {self.temperature}")

    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """See `Ensemble.fit`; nothing is fitted."""
        mean = np.exp(log_weights(validation, kind, self.temperature)).mean(1)
        weights = np.broadcast_to(mean, (len(validation), validation.shape[2])).copy()
        return LogitCombination(partial(_combine, kind, self.temperature), weights)


def _combine(kind: Kind, temperature: float, logits: TeacherLogits) -> Logits:
    return pooled(log_weights(logits, kind, temperature), logits, kind)


def log_weights(logits: TeacherLogits, kind: Kind, temperature: float) -> Float[np.ndarray, "..."]:
    """Return the logarithms of the weights, members x documents x (outputs, or 1 where exactly one class holds)."""
    return np.asarray(log_softmax(-entropy(logits.astype(np.float64), kind) / temperature, axis=0))


def entropy(logits: Float[np.ndarray, "..."], kind: Kind) -> Float[np.ndarray, "..."]:
    """Return the entropy of every distribution, divided by its largest possible value."""
    if kind != "multilabel":
        logs = log_softmax(logits, axis=2)
        return np.asarray(-(np.exp(logs) * logs).sum(2, keepdims=True) / np.log(max(2, logits.shape[2])))
    positive, negative = log_sigmoid(logits), log_sigmoid(-logits)
    return np.asarray(-(np.exp(positive) * positive + np.exp(negative) * negative) / np.log(2))
