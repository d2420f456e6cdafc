"""The plot of a Pareto front: quality against bytes and against latency, with names and intervals."""

import math
from collections.abc import Container, Sequence
from typing import Any, Final

import numpy as np

from clinlm.report import cells
from clinlm.report.baselines import BASELINES
from clinlm.report.html.scatter import Frame, Mark, Point, Shape, named
from clinlm.report.html.words import kind_of
from clinlm.report.pareto_front import numbered
from clinlm.report.results import ModelResult

MOST_NAMES: Final = 14
"""Points with their name, at most: the front, teachers and TF-IDF first."""

_GREY, _FRONT, _INK, _BASELINE = "#8b9198", "#0b5fa5", "#1f2937", "#b25a00"
_PANELS = (("size, MB = 10⁶ bytes", 1e-6), ("latency from text, median ms a document", 1.0))
_MARKERS: dict[Shape, str] = {"original": "s", "baseline": "^", "compressed": "o", "trained": "D", "ensemble": "P"}

_WIDE = 3000
"""Ratio of the ends of an axis beyond which ticks at 1, 2 and 5 would touch."""


def plot_pareto(results: Sequence[ModelResult], metric: str, split: str = "test") -> Any:
    """Draw quality against bytes and against latency: the front by validation coloured, the others grey.

    Squares are what models are compared with, triangles TF-IDF; lines are 95 % intervals.

    Args:
        split: that quality is of.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second, and only sweeps draw

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    ahead = {results[place].name for place in numbered(results, metric)}
    names = named_results(results, ahead)
    panels = figure.subplots(1, 2, sharey=True)
    drawn = []
    for place, (panel, (label, unit)) in enumerate(zip(panels, _PANELS, strict=True)):
        points = [_point(n, own, metric, place, unit, own.name in names) for n, own in enumerate(results)]
        points = [point for point in points if point.known]
        drawn.append(points)
        if not points:
            panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color=_GREY)
            continue
        low, high = min(point.x for point in points), max(point.x for point in points)
        room = max((high / low) ** 0.12, 1.15)
        panel.set(xscale="log", xlim=(low / room, high * room), xlabel=label)
        panel.set_autoscalex_on(False)
        _draw(panel, points, ahead, results)
        panel.margins(y=0.08)
        _dress(panel, few=high < 5 * low)
    panels[0].set_ylabel(f"{cells.spelled(metric)} on {split}, %")
    figure.suptitle(f"Pareto front by validation (coloured): {len(ahead)} of {len(results)} models", fontsize=11)
    figure.draw_without_rendering()  # places in pixels are known from here
    for panel, points in zip(panels, drawn, strict=True):
        _label(panel, points)
    return figure


def named_results(results: Sequence[ModelResult], ahead: Container[str], about: Sequence[str] = ()) -> set[str]:
    """Return the names that are written at points: of few results all, else the front, teachers and TF-IDF first.

    Args:
        ahead: names of the front.
        about: names that come before all others.
    """
    first = [*about, *(own.name for own in results if kind_of(own) == "original" or own.name in BASELINES)]
    others = [own.name for own in results if own.name in ahead], [own.name for own in results if not own.dominated_by]
    rest = [own.name for own in results] if len(results) <= MOST_NAMES else []
    return set([*dict.fromkeys([*first, *others[0], *others[1], *rest])][:MOST_NAMES])


def _point(number: int, own: ModelResult, metric: str, place: int, unit: float, name: bool) -> Point:
    interval, x = own.intervals.get(metric), float(own.bytes) if place == 0 else own.p50_ms
    ends = (100 * interval.low, 100 * interval.high) if interval else (math.nan, math.nan)
    value = 100 * own.quality.get(metric, math.nan)
    return Point(own.name * name, number, math.nan if x is None else x * unit, value, *ends, kind_of(own))


def _draw(panel: Any, points: Sequence[Point], ahead: set[str], results: Sequence[ModelResult]) -> None:
    for point in sorted(points, key=lambda own: results[own.row or 0].name in ahead):
        front = results[point.row or 0].name in ahead
        colour = _BASELINE if point.shape == "baseline" else _FRONT
        colour = colour if front else _INK if point.shape == "original" else _GREY
        if not math.isnan(point.low + point.high):
            panel.plot([point.x, point.x], [point.low, point.high], color=colour, alpha=0.5, linewidth=1, zorder=2)
        marker = _MARKERS[point.shape]
        panel.scatter([point.x], [point.y], s=36, marker=marker, color=colour, linewidths=0, zorder=3 + front)


def _dress(panel: Any, few: bool) -> None:
    """Write numbers without exponents; `few`: on an axis too short for ticks at 1, 2 and 5."""
    from matplotlib import ticker

    low, high = panel.get_xlim()
    wide = high > _WIDE * low
    logarithmic = ticker.LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=8)
    panel.xaxis.set_major_locator(ticker.MaxNLocator(5) if few else logarithmic)
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _label(panel: Any, points: Sequence[Point]) -> None:
    """Write the names next to their points, where there is room, as on the page."""
    if not points:
        return
    scale = panel.figure.dpi / 72
    box = panel.get_window_extent()
    places = panel.transData.transform(np.array([[point.x, point.y] for point in points])) / scale
    top = box.y1 / scale
    marks = [Mark(p, float(x), top - float(y), 0.0, 0.0) for p, (x, y) in zip(points, places, strict=True)]
    frame = Frame(box.x0 / scale, 0.0, box.x1 / scale + 6, top - box.y0 / scale, character=4.7, line=10.0)
    for mark in named(marks, frame):
        if mark.label:
            offset = (mark.label_x - mark.x, mark.y - mark.label_y + 4)
            across = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
            panel.annotate(
                mark.label, (mark.point.x, mark.point.y), xytext=offset, textcoords="offset points", ha=across,
                va="center", fontsize=8, color=_INK,
            )  # fmt: skip
