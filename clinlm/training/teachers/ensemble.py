"""Interface of ensembles: a rule that combines the logits of several teachers, fitted on validation."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


class Ensemble(ABC):
    """A way to make one teacher of several. Subclasses are final, one per file, and hold plain settings only.

    One member alone keeps its probabilities, and equal members count as one.
    """

    @abstractmethod
    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """Return the rule, fitted on validation documents only.

        Args:
            validation: logits of the members for the validation documents; finite.
            kind: of the task: outputs are independent labels, or a distribution over classes.
        """


def equal(logits: TeacherLogits) -> Float[np.ndarray, "members outputs"]:
    """Return equal weights."""
    members, _, outputs = logits.shape
    return np.full((members, outputs), 1 / members)


def pooled(log_weights: Float[np.ndarray, "..."], logits: TeacherLogits, kind: Kind) -> Logits:
    """Return the logits of the weighted mean of the members' probabilities.

    Computed in logarithms: a probability that rounds to 1 would have an infinite logit.

    Args:
        log_weights: logarithms of weights that sum to 1 over members.
    """
    values = logits.astype(np.float64)
    if kind != "multilabel":
        return np.asarray(logsumexp(log_softmax(values, axis=2) + log_weights, axis=0))
    positive, negative = (logsumexp(log_sigmoid(own) + log_weights, axis=0) for own in (values, -values))
    return np.asarray(positive - negative)


def log_sigmoid(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the logarithm of the sigmoid, exact at both ends."""
    return np.asarray(-np.logaddexp(0.0, -values))
