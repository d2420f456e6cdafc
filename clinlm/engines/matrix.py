"""A matrix of weights in an engine's files."""

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix of weights, as an engine's files hold it.

    Attributes:
        shape: its two sides, the smaller first: engines keep it either way round.
        bits: a weight.
        nonzero: weights that are not 0.
    """

    shape: tuple[int, int]
    bits: int
    nonzero: int

    @classmethod
    def of(cls, values: np.ndarray, bits: int | None = None) -> "Matrix":
        """Return what there is to know of a rank-2 array; `bits` where the array's own type is wider."""
        low, high = sorted(values.shape)
        return cls((low, high), bits or values.itemsize * 8, int(np.count_nonzero(values)))
