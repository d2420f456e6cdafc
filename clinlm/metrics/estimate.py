"""A number with its 95 % bootstrap interval, from its values on the documents as they are and on all resamples."""

import math
from dataclasses import dataclass
from typing import Self, final

import numpy as np
from jaxtyping import Float

from clinlm.metrics.intervals import Groups, draw
from clinlm.metrics.weighted import Values, Weights


@final
@dataclass(frozen=True)
class Estimate:
    """A number and how far it moves with the documents.

    Attributes:
        value: on the documents as they are; NaN where it is undefined.
        low: lower end of the 95 % interval; NaN where the number is undefined in every resample.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def percentile(cls, values: Values) -> Self:
        """Return the percentile interval: the 2.5th and 97.5th of the resamples.

        Args:
            values: first on the documents as they are, then one a resample (as `weights` orders them); NaN where
                undefined, and then left out.
        """
        return cls(float(values[0]), *_ends(values))

    @classmethod
    def cautious(cls, values: Values, least: float = 0.0) -> Self:
        """Return an interval for a number that noise pushes up, or for a difference of two of them.

        Such as a gap between best and worst, or a sum of absolute differences. A resample adds its noise to that of the
        documents, so all resamples lie too high: where the truth is 0, the percentile interval never holds it. The
        basic interval, value - (resample - value) (Davison & Hinkley 1997, section 5.2), lies as much too low, which is
        right near 0 and wrong far from it. The farther of both is taken at either end: wider than 95 % asks for, in
        simulations of gaps of 2 to 4 subgroups never narrower.

        Args:
            values: as in `percentile`.
            least: lowest value that the number can have.
        """
        value, (low, high) = float(values[0]), _ends(values)
        if math.isnan(low):
            return cls(value, low, high)
        return cls(value, max(least, min(low, 2 * value - high)), max(high, 2 * value - low))


def weights(documents: int, resamples: int, seed: int, groups: Groups | None) -> Weights:
    """Return one row of ones, the documents as they are, and below it the resamples of `draw`.

    Raises:
        ValueError: as in `draw`.
    """
    return np.vstack([np.ones(documents), draw(documents, resamples, seed, groups)])


def _ends(values: Float[np.ndarray, " rows"]) -> tuple[float, float]:
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return float("nan"), float("nan")
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)
