"""The mean of the members' logits."""

from dataclasses import dataclass
from typing import final

import numpy as np

from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.ensemble import Ensemble, equal
from clinlm.training.teachers.logit_combination import LogitCombination, Logits, Targets, TeacherLogits


@final
@dataclass(frozen=True)
class MeanLogits(Ensemble):
    """The mean of the logits: the geometric mean of the odds, so a confident member counts more than an unsure one.

    Source: OptimCLM, the mean of the logits of two fine-tuned encoders.
    """

    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """See `Ensemble.fit`; nothing is fitted."""
        return LogitCombination(_mean, equal(validation))


def _mean(logits: TeacherLogits) -> Logits:
    """Return the mean over members."""
    return np.asarray(logits.mean(axis=0, dtype=np.float64))
