"""What every ensemble promises: a rule from the logits of its members to logits, fitted on validation."""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


class Ensemble(ABC):
    """A way to make one teacher of several. Subclasses are final, one per file, and hold plain settings only.

    One member alone gives its own probabilities back, and equal members count as one.
    """

    @abstractmethod
    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """Return the rule. Nothing but validation documents may decide anything in it.

        Args:
            validation: logits of the members for the validation documents; finite.
            targets: of these documents.
            kind: of the task: outputs are independent labels, or shares of one whole.
        """


def equal(logits: TeacherLogits) -> Float[np.ndarray, "members outputs"]:
    """Return the weights of members that all count the same."""
    members, _, outputs = logits.shape
    return np.full((members, outputs), 1 / members)


def pooled(log_weights: Float[np.ndarray, "..."], logits: TeacherLogits, kind: Kind) -> Logits:
    """Return the logits of the weighted mean of the members' probabilities.

    In logarithms throughout: a probability that rounds to 1 would have an infinite logit.

    Args:
        log_weights: logarithms of weights that sum to 1 over members.
        logits: of the members.
        kind: of the task.
    """
    values = logits.astype(np.float64)
    if kind != "multilabel":
        return np.asarray(logsumexp(log_softmax(values, axis=2) + log_weights, axis=0))
    positive, negative = (logsumexp(log_sigmoid(each) + log_weights, axis=0) for each in (values, -values))
    return np.asarray(positive - negative)


def log_sigmoid(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the logarithm of the sigmoid, exact at both ends."""
    return np.asarray(-np.logaddexp(0.0, -values))
