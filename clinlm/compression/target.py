"""Target cost of a pruned network: bytes, parameters or milliseconds, absolute or as a share."""

import math
from dataclasses import dataclass
from typing import Self

from clinlm.config.errors import ConfigError

METRICS = ("latency_ms", "bytes", "parameters")


@dataclass(frozen=True)
class Target:
    """A cost to reach.

    Attributes:
        metric: one of `METRICS`.
        value: the cost, or a share of the current cost, in (0, 1).
        relative: whether it is a share.
    """

    metric: str
    value: float
    relative: bool

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `latency_ms:2.0`, `bytes:4e6`, `parameters:50%`.

        Raises:
            ConfigError: another metric, no number, or a number out of range.
        """
        metric, _, number = text.partition(":")
        relative = number.endswith("%")
        try:
            value = float(number.removesuffix("%")) / (100 if relative else 1)
        except ValueError:
            value = math.nan
        if metric not in METRICS or not 0 < value < (1 if relative else math.inf):
            raise ConfigError(
                f"prune.target must be METRIC:NUMBER with one of {', '.join(METRICS)} and a positive number or a share "
                f"below 100%, got {text!r}; write for example latency_ms:2.0, bytes:4e6 or parameters:50%"
            )
        return cls(metric, value, relative)

    def check_below(self, now: float) -> None:
        """Raise ConfigError unless the target is below the current cost."""
        if not self.relative and now <= self.value:
            raise ConfigError(
                f"prune.target must be below the cost of the network, {now:,.6g} {self.metric}, got {self.value:,.6g}; "
                "lower it, or remove the stage"
            )

    def goal(self, now: float, remaining: int) -> float:
        """Return the cost to reach in the first of `remaining` steps, all of which shrink by the same factor.

        Args:
            remaining: steps, this one included; for a share all steps, because each starts from a lower cost.
        """
        last = self.value * now if self.relative else self.value
        return float(now * (last / now) ** (1 / remaining))
