"""The plots of a comparison: which models they show, and how."""

import math
from collections.abc import Mapping, Sequence

from clinlm.config.errors import DataError, MissingFileError
from clinlm.report import cells
from clinlm.report.html.scatter import Point, Scatter, scatter
from clinlm.report.html.words import kind_of
from clinlm.report.pareto_front import numbered
from clinlm.report.pareto_plot import named_results
from clinlm.report.published import Published
from clinlm.report.results import ModelResult

_COSTS: Mapping[str, tuple[str, str]] = {
    "bytes": ("size, MB (10⁶ bytes)", "size_mb"),
    "latency": ("median ms a note, from text to decisions", "latency_ms"),
}
"""Cost -> title of its axis, and the column of a published table."""


def pareto_plots(
    results: Sequence[ModelResult], metrics: Sequence[str], about: str, published: Published | None, split: str
) -> dict[str, list[Scatter]]:
    """Return metric -> the plots of quality against bytes and against latency.

    Args:
        metrics: the first is that which training monitored: the front is of it, on validation.
        about: name of the model that the answer is about.
    """
    if not results:
        return {}
    front = [results[place] for place in numbered(results, metrics[0])] if metrics else []
    ahead = {own.name for own in front if not own.dominated_by}
    names = named_results(results, ahead, [about])
    return {
        metric: [
            scatter(
                f"{metric}-{cost}",
                title,
                f"{cells.spelled(metric)} on {split}, %",
                [
                    *(_published(published, metric, column) if published else ()),
                    *(_point(n, own, metric, cost, own.name in names, about) for n, own in enumerate(results)),
                ],
            )
            for cost, (title, column) in _COSTS.items()
        ]
        for metric in metrics
    }


def published_of(name: str | None) -> Published | None:
    """Return the published table that a run names in report.published; None for none, and where it is gone."""
    try:
        return None if name is None else Published.named(name)
    except (DataError, MissingFileError):
        return None


def _point(number: int, own: ModelResult, metric: str, cost: str, named: bool, about: str) -> Point:
    interval, value = own.intervals.get(metric), own.quality.get(metric, math.nan)
    x = own.bytes / 1e6 if cost == "bytes" else math.nan if own.p50_ms is None else own.p50_ms
    low, high = (100 * interval.low, 100 * interval.high) if interval else (math.nan, math.nan)
    spread = f" ({cells.percent_range(interval.low, interval.high)})" if interval else ""
    unit = "MB" if cost == "bytes" else "ms"
    said = f"{own.name}: {cells.spelled(metric)} {cells.percent(value)} %{spread}, {cells.three(x)} {unit}"
    beaten = bool(own.dominated_by)
    return Point(
        own.name if named else "", number, x, 100 * value, low, high, kind_of(own), beaten, own.name == about,
        f"{said}{', dominated by ' + own.dominated_by[0] if beaten else ''}",
    )  # fmt: skip


def _published(table: Published, metric: str, column: str) -> list[Point]:
    """Return the points of a published table that has both numbers."""
    if metric not in table.columns or column not in table.columns:
        return []
    y, x = table.columns.index(metric), table.columns.index(column)
    return [
        Point(
            f"{name} (paper)", None, row[x], row[y], math.nan, math.nan, "published",
            said=f"{name} as published: {cells.spelled(metric)} {cells.two(row[y])} %, {cells.three(row[x])}",
        )
        for name, row in table.rows.items()
    ]  # fmt: skip
