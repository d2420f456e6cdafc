"""A fitted ensemble: the function from the logits of several teachers to those of one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

Logits = Float[np.ndarray, "documents outputs"]
TeacherLogits = Float[np.ndarray, "members documents outputs"]
Targets = Bool[np.ndarray, "documents outputs"]
Combine = Callable[[TeacherLogits], Logits]


@final
@dataclass(frozen=True)
class LogitCombination:
    """A fitted ensemble.

    Attributes:
        combine: maps the logits of the members, in the order of the fit, to those of the ensemble, document by
            document; the task's link maps these to its probabilities.
        weights: of the members, in [0, 1], summing to 1 for every output; where they differ between documents, the
            mean over validation.
    """

    combine: Combine
    weights: Float[np.ndarray, "members outputs"]
