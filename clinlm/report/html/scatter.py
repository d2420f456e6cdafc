"""The plots of quality against a cost: places of marks, intervals and names; the template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

from clinlm.report.html.axis import Axis

WIDTH, HEIGHT = 460, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 44
CHARACTER, _LINE = 6.4, 13
"""Width of a character and height of a line of the names, in units of the drawing."""
_NAME = 22
"""Characters of a name at most."""

Shape = Literal["original", "baseline", "compressed", "trained", "ensemble", "published"]


@final
@dataclass(frozen=True)
class Point:
    """A model in a plot.

    Attributes:
        name: that is written at the point; "" for none.
        row: number of the model; None for what is no row of the table, such as a published number.
        x: cost, > 0; NaN where it was not measured.
        y, low, high: quality in per cent with its interval; the ends NaN without one.
        shape: what kind of model it is.
        dominated: whether another row is as good in everything and better in one.
        chosen: whether the answer is about it.
        said: in words, for a screen reader.
    """

    name: str
    row: int | None
    x: float
    y: float
    low: float
    high: float
    shape: Shape
    dominated: bool = False
    chosen: bool = False
    said: str = ""

    @property
    def known(self) -> bool:
        """Whether it has a place."""
        return math.isfinite(self.x) and math.isfinite(self.y) and self.x > 0


@final
@dataclass(frozen=True)
class Mark:
    """A point at its place; `label_*` are those of its name, at the `anchor` of its text."""

    point: Point
    x: float
    y: float
    low: float
    high: float
    label: str = ""
    label_x: float = 0.0
    label_y: float = 0.0
    anchor: Literal["start", "middle", "end"] = "start"


@final
@dataclass(frozen=True)
class Scatter:
    """A plot; ticks are pairs of place and label."""

    key: str
    title: str
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM
    missing: list[str] = field(default_factory=list)


def scatter(key: str, x_title: str, y_title: str, points: Sequence[Point]) -> Scatter:
    """Return the plot of `points`: cost on a logarithmic axis, quality on a linear one.

    What is drawn later lies above: dominated points come first, the chosen one last. Names that find no free place next
    to their point are left out.

    Args:
        key: distinct in the page.
        x_title: the cost with its unit.
    """
    known = sorted((own for own in points if own.known), key=lambda own: (not own.dominated, own.chosen))
    x = Axis.around((own.x for own in known), _LEFT + 8, WIDTH - _RIGHT - 8, logarithmic=True)
    ends = [end for own in known for end in (own.y, *((own.low, own.high) if own.name else ()))]
    y = Axis.around(ends, HEIGHT - _BOTTOM - 6, _TOP + 6)
    marks = [
        Mark(own, x.place(own.x), y.place(own.y), y.place(_or(own.low, own.y)), y.place(_or(own.high, own.y)))
        for own in known
    ]
    return Scatter(
        key, f"{y_title} against {x_title}", x_title, y_title, x.ticks(), y.ticks(), named(marks),
        missing=[own.name for own in points if own.name and not own.known],
    )  # fmt: skip


def _or(end: float, value: float) -> float:
    return value if math.isnan(end) else end


@final
@dataclass(frozen=True)
class Frame:
    """Where names may stand, y downwards, with the width of a character and the height of a line."""

    left: float = _LEFT
    top: float = 2.0
    right: float = WIDTH - 2
    bottom: float = HEIGHT - _BOTTOM
    character: float = CHARACTER
    line: float = _LINE


def named(marks: Sequence[Mark], frame: Frame | None = None) -> list[Mark]:
    """Return the marks, each with a name at the first place where it covers no point, no name and no border."""
    frame = frame or Frame()
    taken = [(mark.x - 5, mark.y - 5, mark.x + 5, mark.y + 5) for mark in marks]
    found = list(marks)
    order = sorted(range(len(marks)), key=lambda place: (not marks[place].point.chosen, marks[place].point.dominated))
    for place in order:
        mark = marks[place]
        if not mark.point.name:
            continue
        label = _short(mark.point.name)
        for anchor, dx, dy in _AROUND:
            box = _box(mark.x + dx, mark.y + dy, len(label) * frame.character, frame.line, anchor)
            inside = box[0] > frame.left and box[2] < frame.right and box[1] > frame.top and box[3] < frame.bottom
            if inside and not any(_overlap(box, other) for number, other in enumerate(taken) if number != place):
                taken.append(box)
                found[place] = replace(
                    mark, label=label, label_x=mark.x + dx, label_y=mark.y + dy + 4, anchor=anchor
                )  # fmt: skip
                break
    return found


_Anchor = Literal["start", "middle", "end"]
_AROUND: Sequence[tuple[_Anchor, float, float]] = (
    *(("start", 9.0, 0.0), ("end", -9.0, 0.0), ("start", 8.0, -11.0), ("start", 8.0, 11.0)),
    *(("end", -8.0, -11.0), ("end", -8.0, 11.0), ("middle", 0.0, -15.0), ("middle", 0.0, 15.0)),
    *(("start", 10.0, -22.0), ("end", -10.0, -22.0), ("start", 10.0, 22.0), ("end", -10.0, 22.0)),
)
"""Places of a name around its point, the best first."""

_Box = tuple[float, float, float, float]


def _box(x: float, y: float, width: float, height: float, anchor: _Anchor) -> _Box:
    left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
    return left, y - height / 2, left + width, y + height / 2


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 9]}…{name[-8:]}"
