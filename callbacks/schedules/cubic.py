"""Fast at first, when there is much to spare, slower towards the end."""

import math
from typing import final

from callbacks.schedules.base import Schedule


@final
class Cubic(Schedule):
    """The share 1 - (1 - t)^3, where t runs from 0 at `begin` to 1 at `end` in `updates` equal stairs.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, equation 1, from an initial sparsity of 0.

    Args:
        begin: share of the optimiser steps done before the first stair begins, in [0, 1).
        end: share of them done when the final ratio is reached, in (begin, 1]; what is left lets the survivors settle.
        updates: number of stairs, at least 1; where there are fewer steps, every step is a stair.
    """

    def __init__(self, begin: float = 0.0, end: float = 0.8, updates: int = 50) -> None:
        if not 0 <= begin < end <= 1:
            raise ValueError(
                f"a cubic schedule has 0 <= begin < end <= 1, shares of the steps; got begin={begin}, end={end}; "
                "correct schedule.begin and schedule.end"
            )
        if updates < 1:
            raise ValueError(f"schedule.updates is at least 1; got {updates}")
        self.begin, self.end, self.updates = begin, end, updates

    def share(self, progress: float) -> float:
        """See `Schedule.share`."""
        if progress >= self.end:
            return 1.0
        t = max(0.0, (progress - self.begin) / (self.end - self.begin))
        stair: float = 1 - (1 - math.floor(t * self.updates) / self.updates) ** 3
        return stair
