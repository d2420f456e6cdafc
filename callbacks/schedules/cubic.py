"""A cubic schedule: fast at first, slower towards the end."""

import math
from typing import final

from callbacks.schedules.base import Schedule
from clinlm.config.errors import ConfigError


@final
class Cubic(Schedule):
    """The share 1 - (1 - t)^3, where t runs from 0 at `begin` to 1 at `end` in `updates` equal steps.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, equation 1, from an initial sparsity of 0.

    Args:
        begin: share of the optimiser steps done before the first update, in [0, 1).
        end: share of them done when the final ratio is reached, in (begin, 1]; the rest trains what is left.
        updates: how often the share rises, at least 1; with fewer optimiser steps, it rises at every step.
    """

    def __init__(self, begin: float = 0.0, end: float = 0.8, updates: int = 50) -> None:
        if not 0 <= begin < end <= 1:
            raise ConfigError(
                "a cubic schedule must have 0 <= begin < end <= 1 (shares of the steps), got "
                f"begin={begin}, end={end}; set schedule.begin and schedule.end"
            )
        if updates < 1:
            raise ConfigError(f"schedule.updates must be at least 1, got {updates}")
        self.begin, self.end, self.updates = begin, end, updates

    def share(self, progress: float) -> float:
        if progress >= self.end:
            return 1.0
        t = max(0.0, (progress - self.begin) / (self.end - self.begin))
        share: float = 1 - (1 - math.floor(t * self.updates) / self.updates) ** 3
        return share
