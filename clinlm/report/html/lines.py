"""Plots of curves: places of points and intervals; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.report.html.axis import Axis

_SIZE = 460, 320
_FRAME = 50, 448, 10, 276
"""Left, right, top and bottom of the panel."""
STYLES = 6
"""Colours and dashes that the style sheet has."""


@final
@dataclass(frozen=True)
class Series:
    """A curve: pairs of x and y, and for each the ends of its interval where it has one."""

    name: str
    points: Sequence[tuple[float, float]]
    ends: Sequence[tuple[float, float]] = ()


@final
@dataclass(frozen=True)
class Curve:
    """A drawn curve: `path` of the line, places of its dots, and of the ends of their intervals."""

    name: str
    style: int
    path: str
    dots: list[tuple[float, float, str]]
    bars: list[tuple[float, float, float]]


@final
@dataclass(frozen=True)
class LineChart:
    """A plot of curves; `diagonal` is the path of y = x, "" for none."""

    title: str
    x_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    curves: list[Curve]
    diagonal: str
    width: int = _SIZE[0]
    height: int = _SIZE[1]
    left: int = _FRAME[0]
    right: int = _FRAME[1]
    top: int = _FRAME[2]
    bottom: int = _FRAME[3]


def line_chart(title: str, x_title: str, series: Sequence[Series], diagonal: bool = False) -> LineChart:
    """Return the plot of curves in per cent; x and y share their ends where it has the diagonal.

    Args:
        title: what y is.
    """
    xs = [x for own in series for x, _ in own.points]
    ys = [y for own in series for _, y in own.points] + [end for own in series for ends in own.ends for end in ends]
    left, right, top, bottom = _FRAME
    if diagonal:
        xs = ys = [*xs, *ys]
    x, y = Axis.around(xs, left, right), Axis.around(ys, bottom, top)
    straight = ""
    if diagonal:
        straight = f"M{x.place(x.low)} {y.place(x.low)}L{x.place(x.high)} {y.place(x.high)}"
    curves = [_curve(own, number, x, y) for number, own in enumerate(series)]
    return LineChart(title, x_title, x.ticks(), y.ticks(), curves, straight)


def _curve(own: Series, number: int, x: Axis, y: Axis) -> Curve:
    known = [(a, b) for a, b in own.points if math.isfinite(a) and math.isfinite(b)]
    places = [(x.place(a), y.place(b)) for a, b in known]
    bars = [
        (x.place(a), y.place(low), y.place(high))
        for (a, _), (low, high) in zip(own.points, own.ends, strict=False)
        if math.isfinite(a) and math.isfinite(low) and math.isfinite(high)
    ]
    dots = [(*place, f"{own.name}: {a:.3g}, {b:.3g}") for place, (a, b) in zip(places, known, strict=True)]
    path = "".join(f"{'L' if n else 'M'}{a} {b}" for n, (a, b) in enumerate(places))
    return Curve(own.name, number % STYLES, path, dots, bars)
