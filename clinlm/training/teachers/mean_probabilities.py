"""The mean of the members' probabilities."""

from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np

from clinlm.tasks.inference_config import Kind
from clinlm.training.teachers.ensemble import Ensemble, equal, pooled
from clinlm.training.teachers.logit_combination import LogitCombination, Targets, TeacherLogits


@final
@dataclass(frozen=True)
class MeanProbabilities(Ensemble):
    """The mean of the probabilities, as logits: a member counts no more than its share, however confident it is.

    Source: Lakshminarayanan et al. 2017, "Deep ensembles", arXiv:1612.01474, section 2.4.
    """

    def fit(self, validation: TeacherLogits, targets: Targets, kind: Kind) -> LogitCombination:
        """See `Ensemble.fit`; nothing is fitted."""
        return LogitCombination(
            partial(pooled, np.full((len(validation), 1, 1), -np.log(len(validation))), kind=kind), equal(validation)
        )
