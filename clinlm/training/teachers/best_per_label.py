"""For every label, the logits of the member that ranks validation documents best."""

from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Float
from sklearn.metrics import average_precision_score

from clinlm.tasks.inference_config import Kind, probabilities_from_logits
from clinlm.training.teachers.ensemble import Ensemble
from clinlm.training.teachers.learned import centred, weighted
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


@final
@dataclass(frozen=True)
class BestPerLabel(Ensemble):
    """Each label has the logits of the member with the highest AUPRC (average precision) for it on validation.

    A label that all validation documents have, or none, goes to the best member overall, that of the highest mean over
    the other labels; so do all labels where exactly one holds, as columns of several softmaxes are no distribution.
    Equally good members share a label, by the mean of their logits. Members need not be calibrated alike: use
    `task.thresholds=per_label` with this ensemble.
    """

    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        scores = np.stack([precision(probabilities_from_logits(logits, kind), targets) for logits in validation])
        defined = ~np.isnan(scores).any(0)
        overall = scores[:, defined].mean(1, keepdims=True) if defined.any() else np.zeros((len(scores), 1))
        decisive = np.where(defined & (kind == "multilabel"), scores, overall)
        best = np.isclose(decisive, decisive.max(0), rtol=0, atol=1e-12)
        weights = best / best.sum(0)
        return LogitCombination(partial(_combine, weights, kind), weights)


def _combine(weights: Float[np.ndarray, "members outputs"], kind: Kind, logits: TeacherLogits) -> Logits:
    return weighted(weights, centred(logits, kind))


def precision(values: Float[np.ndarray, "documents outputs"], targets: Targets) -> Float[np.ndarray, " outputs"]:
    """Return the average precision of every label; NaN where all documents have it, or none."""
    found = np.full(targets.shape[1], np.nan)
    for label in np.flatnonzero(targets.any(0) & ~targets.all(0)):
        found[label] = average_precision_score(targets[:, label], values[:, label])
    return found
