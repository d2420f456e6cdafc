"""One model of a comparison before it is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from clinlm.report.row import Row


@final
@dataclass(frozen=True)
class Entry:
    """What a model says of validation and test, and how it answers one document.

    Attributes:
        row: name and costs; quality is filled in later.
        validation, test: probabilities.
        answer: from the number of a document, what is to be timed; None where timing it would say nothing.
        reference: name of the row that it is compared with; its own for a reference.
        cut: what has to be said of notes that the model does not read to their end; "" if there are none.
    """

    row: Row
    validation: Float[np.ndarray, "validation outputs"]
    test: Float[np.ndarray, "test outputs"]
    answer: Callable[[int], object] | None
    reference: str
    cut: str = ""
