"""An ensemble that knows its members: what maps their logits to those of one."""

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
    """An ensemble that knows its members.

    Attributes:
        combine: from the logits of the members, in the order of the fit, to logits: their sigmoid or softmax, as the
            task's kind says, are the probabilities of the ensemble. Documents do not depend on each other.
        weights: what every member counts for, in [0, 1], over members summing to 1 for every output; where it differs
            between documents, the mean over validation.
    """

    combine: Combine
    weights: Float[np.ndarray, "members outputs"]
