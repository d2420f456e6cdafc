"""The models that no other beats in everything: quality against bytes and latency, as a table, a file and a plot."""

import math
import shlex
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from clinlm.report import cells, timing
from clinlm.report.domination import dominance
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult
from clinlm.report.tables import dominated

_GREY, _FRONT = "#9aa0a6", "#0b5fa5"
_PANELS = (("size, MB = 10⁶ bytes", 1e-6), ("latency from text, median ms a document", 1.0))


def front(values: Float[np.ndarray, "points objectives"], maximize: Sequence[bool]) -> Bool[np.ndarray, " points"]:
    """Return whether each point is on the Pareto front: no other is as good in every objective and better in one.

    Equal points are kept together; a point with a NaN is off the front and dominates nothing.

    Args:
        values: one line a point.
        maximize: for every objective whether more of it is better.
    """
    dominated = dominance(values, maximize).any(axis=0)
    return np.asarray(~np.isnan(values).any(axis=1) & ~dominated, dtype=bool)


def pareto_objectives(results: Sequence[ModelResult], metric: str) -> Float[np.ndarray, "points 3"]:
    """Return quality on validation, bytes and median latency in ms of every result; NaN where not measured."""
    rows = [
        (result.validation.get(metric, math.nan), result.bytes, math.nan if result.p50_ms is None else result.p50_ms)
        for result in results
    ]
    return np.array(rows, dtype=float).reshape(-1, 3)


def numbered(results: Sequence[ModelResult], metric: str) -> dict[int, int]:
    """Return, for every model of the front, by its place in `results`, its number: 1 has the best quality."""
    values = pareto_objectives(results, metric)
    places = np.flatnonzero(front(values, (True, False, False))).tolist()
    ordered = sorted(places, key=lambda place: (-values[place, 0], values[place, 1]))
    return dict(zip(ordered, count(1), strict=False))


def command(result: ModelResult) -> str:
    """Return what to type to make a model again."""
    return (
        "# every run fits it: the folder is that of the line tfidf"
        if result.kind == "baseline"
        else shlex.join(["clinlm", *result.lineage.overrides])
    )


def pareto_markdown(results: Sequence[ModelResult], metric: str, split: str = "test") -> str:
    """Return the front as a Markdown table, best quality first, and the command for each of its models.

    Args:
        metric: of quality: on validation it chooses, on test it is only shown.
        split: that `quality` of the results is of; where it is validation, there is no column of test.
    """
    numbers = numbered(results, metric)
    spelled, verb = cells.spelled(metric), "is" if len(numbers) == 1 else "are"
    shown = [f"{spelled} % (test)"] * (split == "test")
    header = ("#", "model", f"{spelled} % (validation)", "MB", "p50 ms", *shown, f"95 % ({split})", "dominated by")
    rows = [_cells(number, results[place], metric, split) for place, number in numbers.items()]
    title = (
        f"{len(numbers)} of {len(results)} models {verb} on the Pareto front of {spelled} on validation, bytes and "
        f"latency. Dominated by: a row as good in bytes, latency, micro F1, macro F1 and macro AUROC on {split}, "
        "better in one."
    )
    commands = "".join(f"# {number}\n{command(results[place])}\n" for place, number in numbers.items())
    return f"{title}\n\n{cells.grid(header, rows)}\n```sh\n{commands}```\n"


def _cells(number: int, result: ModelResult, metric: str, split: str) -> list[str]:
    interval = result.intervals.get(metric)
    spread = cells.NONE if interval is None else cells.percent_range(interval.low, interval.high)
    quality = (cells.percent(own.get(metric)) for own in (result.validation, result.quality))
    costs = (cells.three(result.bytes / 1e6), timing.p50_cell(result.latency))
    validation, test = quality
    ending = [spread, dominated(result.dominated_by)]
    return [str(number), result.name, validation, *costs, *[test] * (split == "test"), *ending]


def pareto_frame(results: Sequence[ModelResult], metric: str, split: str = "test") -> pl.DataFrame:
    """Return a line for every model, in the order given, with its number on the front (null if it is off).

    Args:
        split: see `pareto_markdown`.
    """
    numbers = numbered(results, metric)
    lines: list[Mapping[str, Any]] = []
    for place, (result, values) in enumerate(zip(results, pareto_objectives(results, metric).tolist(), strict=True)):
        interval = result.intervals.get(metric)
        lines.append(
            {"front": numbers.get(place), "name": result.name}
            | dict(zip(("quality", "bytes", "latency_ms"), values, strict=True))
            | {"test_quality": result.quality.get(metric)}
            | {f"test_{end}": interval and getattr(interval, end) for end in ("low", "high")}
            | {"dominated_by": "; ".join(result.dominated_by), "command": command(result)}
        )
    schema: dict[str, type[pl.DataType]] = {"front": pl.Int64, "name": pl.String}
    schema |= dict.fromkeys(("quality", "bytes", "latency_ms", "test_quality", "test_low", "test_high"), pl.Float64)
    found = pl.DataFrame(lines, schema=schema | dict.fromkeys(("dominated_by", "command"), pl.String))
    return found if split == "test" else found.drop("test_quality", "test_low", "test_high")


def write_pareto(results: Sequence[ModelResult], metric: str, folder: Path, split: str = "test") -> list[Path]:
    """Write pareto.md, .csv, .svg and .png into `folder`, and return their paths; `split` as in `pareto_markdown`."""
    paths = [folder / f"pareto.{ending}" for ending in ("md", "csv")]
    paths[0].write_text(pareto_markdown(results, metric, split), encoding="utf-8")
    pareto_frame(results, metric, split).write_csv(paths[1])
    return [*paths, *save_figure(plot_pareto(results, metric), folder, "pareto")]


def plot_pareto(results: Sequence[ModelResult], metric: str) -> Any:
    """Draw quality against bytes and against latency: all points grey, the front coloured with its numbers.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second, and only sweeps draw

    figure = Figure(figsize=(9, 4), layout="constrained")
    numbers, values = numbered(results, metric), pareto_objectives(results, metric)
    y = 100 * values[:, 0]
    panels = figure.subplots(1, 2, sharey=True)
    for place, (panel, (label, unit)) in enumerate(zip(panels, _PANELS, strict=True), 1):
        x = values[:, place] * unit
        ahead = list(numbers)
        known = np.isfinite(x + y)
        behind = [index for index in np.flatnonzero(known) if index not in numbers]
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
    panels[0].set_ylabel(f"{cells.spelled(metric)} on validation, %")
    figure.suptitle(f"Pareto front: {len(numbers)} of {len(results)} models", fontsize=11)
    figure.draw_without_rendering()  # places in pixels are known from here
    for place, (panel, (_, unit)) in enumerate(zip(panels, _PANELS, strict=True), 1):
        _label(panel, {number: (values[p, place] * unit, y[p]) for p, number in numbers.items()})
    return figure


def _dress(panel: Any, few: bool) -> None:
    """Write numbers without exponents; `few`: on an axis too short for ticks at 1, 2 and 5."""
    from matplotlib import ticker

    panel.xaxis.set_major_locator(ticker.MaxNLocator(5) if few else ticker.LogLocator(subs=(1, 2, 5), numticks=8))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(ticker.NullLocator())
    panel.grid(alpha=0.25, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _label(panel: Any, places: dict[int, tuple[float, float]]) -> None:
    """Write every number next to its point, on the side with most room."""
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
