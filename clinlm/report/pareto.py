"""The models that no other beats in everything: quality against bytes and latency, as a table, a file and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells

_GREY, _FRONT = "#9aa0a6", "#0b5fa5"
_PANELS = (("bytes", 1e-6, "size, MB = 10⁶ bytes"), ("latency_ms", 1.0, "latency, median ms a document"))


@final
@dataclass(frozen=True)
class Point:
    """One model with what it was chosen by, and what it is worth on documents that chose nothing.

    Attributes:
        name: of the model.
        quality: on validation, in [0, 1]; NaN keeps the point off the front, here and below.
        bytes: on disk.
        latency_ms: median per document.
        test_quality: the same metric on test, None if unknown. It decides nothing.
        command: what to type to make the model again.
        test_interval: 95 % interval of `test_quality`, None if unknown.
    """

    name: str
    quality: float
    bytes: float
    latency_ms: float
    test_quality: float | None
    command: str
    test_interval: Interval | None = None


def front(values: Float[np.ndarray, "points objectives"], maximize: Sequence[bool]) -> Bool[np.ndarray, " points"]:
    """Whether each point is on the Pareto front: no other is as good in every objective and better in one.

    Equal points are kept together; one with a NaN is off the front and dominates nothing.

    Args:
        values: one line a point.
        maximize: for every objective whether more of it is better.
    """
    if values.shape[1] != len(maximize):
        raise ValueError(f"every objective has a direction; got {values.shape[1]} and {len(maximize)}")
    good = np.where(np.asarray(maximize, dtype=bool), values, -values)
    known = ~np.isnan(good).any(axis=1)
    no_worse = (good[:, None] >= good[None]).all(axis=2)
    better = (good[:, None] > good[None]).any(axis=2)
    dominated = (no_worse & better).any(axis=0)  # comparisons with NaN are false
    return np.asarray(known & ~dominated, dtype=bool)


def numbered(points: Sequence[Point]) -> dict[int, int]:
    """Return, for every point of the front, by its place in `points`, its number: 1 has the best quality."""
    values = np.array([[one.quality, one.bytes, one.latency_ms] for one in points], dtype=float).reshape(-1, 3)
    places = np.flatnonzero(front(values, (True, False, False))).tolist()
    ordered = sorted(places, key=lambda place: (-points[place].quality, points[place].bytes))
    return dict(zip(ordered, count(1), strict=False))


def markdown(points: Sequence[Point], metric: str) -> str:
    """The front as a Markdown table, best quality first, and below it what to type for each of its models.

    Args:
        points: all models.
        metric: name of their quality.
    """
    numbers = numbered(points)
    header = ("#", "model", f"{metric} % (validation)", "MB", "p50 ms", f"{metric} % (test)", "95 %")
    rows = [_cells(number, points[place]) for place, number in numbers.items()]
    told = (
        f"{len(numbers)} of {len(points)} models are on the Pareto front of {metric} on validation, bytes and latency."
    )
    commands = "".join(f"# {number}\n{points[place].command}\n" for place, number in numbers.items())
    return f"{told}\n\n{cells.grid(header, rows)}\n```sh\n{commands}```\n"


def frame(points: Sequence[Point]) -> pl.DataFrame:
    """One line a point, in the order given: its number on the front (null if it is off), and all that it holds."""
    numbers = numbered(points)
    flat = [
        (
            numbers.get(place), one.name, one.quality, one.bytes, one.latency_ms, one.test_quality,
            one.test_interval.low if one.test_interval else None,
            one.test_interval.high if one.test_interval else None, one.command,
        )
        for place, one in enumerate(points)
    ]  # fmt: skip
    schema: dict[str, type[pl.DataType]] = {"front": pl.Int64, "name": pl.String}
    schema |= dict.fromkeys(("quality", "bytes", "latency_ms", "test_quality", "test_low", "test_high"), pl.Float64)
    return pl.DataFrame(flat, schema=schema | {"command": pl.String}, orient="row")


def write(points: Sequence[Point], metric: str, folder: Path) -> list[Path]:
    """Write pareto.md, .csv, .svg and .png into `folder`, and return their paths."""
    from matplotlib import rc_context  # here and below: importing it takes a second, and only sweeps draw

    paths = [folder / f"pareto.{ending}" for ending in ("md", "csv", "svg", "png")]
    paths[0].write_text(markdown(points, metric), encoding="utf-8")
    frame(points).write_csv(paths[1])
    figure = plot(points, metric)
    # Without a date and with ids of our own, the same points make the same file.
    with rc_context({"svg.hashsalt": "clinlm", "svg.fonttype": "none"}):
        figure.savefig(paths[2], metadata={"Date": None})
    figure.savefig(paths[3], dpi=150)
    return paths


def plot(points: Sequence[Point], metric: str) -> Any:
    """Draw quality against bytes and against latency: all points grey, the front coloured with its numbers.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    numbers = numbered(points)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (field, unit, label) in zip(panels, _PANELS, strict=True):
        x = np.array([getattr(one, field) * unit for one in points])
        y = np.array([100 * one.quality for one in points])
        ahead = list(numbers)
        known = np.isfinite(x + y)
        behind = [place for place in np.flatnonzero(known) if place not in numbers]
        if not known.any():
            panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", color=_GREY)
            continue
        low, high = x[known].min(), x[known].max()
        room = max((high / low) ** 0.1, 1.1)
        panel.set(xscale="log", xlim=(low / room, high * room), xlabel=label)
        panel.scatter(x[behind], y[behind], s=18, color=_GREY, alpha=0.6, linewidths=0)
        panel.scatter(x[ahead], y[ahead], s=34, color=_FRONT, linewidths=0)
        panel.margins(y=0.12)
        _dress(panel, few=high < 5 * low)
    panels[0].set_ylabel(f"{metric} on validation, %")
    figure.suptitle(f"Pareto front: {len(numbers)} of {len(points)} models", fontsize=11)
    figure.draw_without_rendering()  # places in pixels are known from here
    for panel, (field, unit, _) in zip(panels, _PANELS, strict=True):
        _label(panel, {n: (getattr(points[p], field) * unit, 100 * points[p].quality) for p, n in numbers.items()})
    return figure


def _cells(number: int, point: Point) -> list[str]:
    interval = point.test_interval
    spread = cells.NONE if interval is None else cells.percent_range(interval.low, interval.high)
    costs = [cells.three(point.bytes / 1e6), cells.three(point.latency_ms)]
    return [
        str(number), point.name, cells.percent(point.quality), *costs, cells.percent(point.test_quality), spread,
    ]  # fmt: skip


def _dress(panel: Any, few: bool) -> None:
    """Numbers as a reader writes them; `few`: of an axis so short that 1, 2 and 5 would leave it without any."""
    from matplotlib import ticker

    panel.xaxis.set_major_locator(ticker.MaxNLocator(5) if few else ticker.LogLocator(subs=(1, 2, 5), numticks=8))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _label(panel: Any, places: dict[int, tuple[float, float]]) -> None:
    """Write every number beside its point, on the side where most room is left."""
    dots = panel.transData.transform(np.array(list(places.values())).reshape(-1, 2))
    scale = panel.figure.dpi / 72
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 4
    around = 9.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)  # points of a seventy-second of an inch
    taken = list(dots)
    for number, dot in zip(places, dots, strict=True):
        room = [min(float(np.hypot(*(dot + side * scale - other))) for other in taken) for side in around]
        best = around[int(np.argmax(np.round(room, 1)))]
        taken.append(dot + best * scale)
        panel.annotate(
            str(number), places[number], xytext=tuple(best), textcoords="offset points", ha="center", va="center",
            fontsize=8, color=_FRONT,
        )  # fmt: skip
