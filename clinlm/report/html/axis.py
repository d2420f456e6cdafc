"""Places of values on an axis, and its ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, final

_STEPS = (1.0, 2.0, 5.0)
_MOST = 6
"""Ticks of an axis, at most."""


@final
@dataclass(frozen=True)
class Axis:
    """From values to places.

    Attributes:
        low, high: least and largest value drawn; low < high, both > 0 on a logarithmic axis.
        start, end: their places, in units of the drawing; start > end for an axis that points up.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, logarithmic: bool = False) -> Self:
        """Return an axis with all finite `values` (of a logarithmic one, all above 0), and a margin around them.

        Without any, it goes from 0 to 1 (from 1 to 10).
        """
        known = [value for value in values if math.isfinite(value) and (value > 0 or not logarithmic)]
        if not known:
            return cls(*((1.0, 10.0) if logarithmic else (0.0, 1.0)), start, end, logarithmic)
        low, high = min(known), max(known)
        if logarithmic:
            room = max((high / low) ** 0.08, 1.15)
            return cls(low / room, high * room, start, end, True)
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    def place(self, value: float) -> float:
        """Return the place of a value; of one off the axis, that of the nearer end."""
        inside = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return places and labels of the ticks, at round values."""
        values = self._decades() if self.logarithmic else []
        if len(values) < 2:
            values = self._steps()
        return [(self.place(value), f"{value:,.10g}") for value in values]

    def _steps(self) -> list[float]:
        """Return the multiples of 1, 2 or 5 times a power of ten that are at most `_MOST`."""
        size = 10.0 ** math.floor(math.log10((self.high - self.low) / _MOST))
        step = next(s * size for s in (*_STEPS, 10.0) if (self.high - self.low) / (s * size) <= _MOST)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 12) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _decades(self) -> list[float]:
        """Return 1, 2 and 5 times the powers of ten; of too many, the powers alone."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in (_STEPS, (1.0, 3.0), (1.0,)):
            values = [f * 10.0**p for p in powers for f in factors if self.low <= f * 10.0**p <= self.high]
            if len(values) <= _MOST:
                break
        every = max(1, math.ceil(len(values) / _MOST))
        return values[::every]
