"""What a network is to cost once it is pruned: bytes, parameters or milliseconds, or a share of what it costs."""

import math
from dataclasses import dataclass
from typing import Self

METRICS = ("latency_ms", "bytes", "parameters")


@dataclass(frozen=True)
class Target:
    """A cost to reach.

    Attributes:
        metric: one of `METRICS`.
        value: the cost, or a share of the cost that there is, in (0, 1).
        relative: whether it is a share.
    """

    metric: str
    value: float
    relative: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `latency_ms:2.0`, `bytes:4e6`, `parameters:50%`.

        Raises:
            ValueError: another metric, no number, or one that is not positive (a share: not below 100 %).
        """
        metric, _, number = text.partition(":")
        relative = number.endswith("%")
        try:
            value = float(number.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            value = math.nan
        if metric not in METRICS or not 0 < value < (1 if relative else math.inf):
            raise ValueError(
                f"prune.target is METRIC:NUMBER, the metric one of {', '.join(METRICS)}, the number positive or a "
                f"share below 100%; got {text!r}; write for example latency_ms:2.0, bytes:4e6 or parameters:50%"
            )
        return cls(metric, value, relative)

    def goal(self, now: float, remaining: int) -> float:
        """Return the cost to reach in the first of `remaining` steps, each of which takes the same factor.

        Args:
            now: the cost of what there is.
            remaining: steps, this one included. Of a share it is how many steps there are in all, for each finds less.
        """
        last = self.value * now if self.relative else self.value
        return float(now * (last / now) ** (1 / remaining))
