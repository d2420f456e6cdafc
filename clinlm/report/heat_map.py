"""Heat maps next to the tables: pipelines × methods, and labels × models."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from clinlm.report import cells
from clinlm.report.baselines import BASELINES
from clinlm.report.grid import AS_IT_IS, grid_models
from clinlm.report.html.words import kind_of
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult

MOST_LABELS: Final = 50
"""Labels of a map, at most: the first of the table."""


def write_grid_map(results: Sequence[ModelResult], metric: str, folder: Path, split: str) -> list[Path]:
    """Write grid.svg and .png: quality of pipelines × methods with its interval; nothing without such a grid."""
    found = grid_models(results)
    if found is None:
        return []
    rows, columns, models = found
    values = np.array([[_percent(models.get((row, column)), metric) for column in columns] for row in rows])
    below = [[_spread(models.get((row, column)), metric) for column in columns] for row in rows]
    title = f"{cells.spelled(metric)} on {split}, %, with 95 % intervals"
    figure = plot_heat(title, rows, [column or AS_IT_IS for column in columns], values, below)
    return save_figure(figure, folder, "grid")


def write_label_map(results: Sequence[ModelResult], folder: Path, split: str) -> list[Path]:
    """Write labels.svg and .png: F1 of labels × models; nothing where no model has labels."""
    models = [own for own in results if own.per_label]
    if not models:
        return []
    by_label: list[Mapping[str, float | None]] = [
        {row["label"]: row.get("f1") for row in own.per_label} for own in models
    ]
    labels = [str(row["label"]) for row in models[0].per_label][:MOST_LABELS]
    values = np.array([[_share(own.get(label)) for own in by_label] for label in labels])
    figure = plot_heat(f"F1 by label on {split}, %", labels, [marked_name(own) for own in models], values)
    return save_figure(figure, folder, "labels")


def marked_name(own: ModelResult) -> str:
    """Return the name of a model, with a mark where others are compared with it, or it is a baseline."""
    mark = "▲ " if own.name in BASELINES else "■ " if kind_of(own) == "original" else ""
    return f"{mark}{own.name}"


def plot_heat(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Float[np.ndarray, "rows columns"],
    below: Sequence[Sequence[str]] = (),
) -> Any:
    """Draw values as colours with their numbers; NaN stays empty.

    Args:
        below: a line below each number.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    height = 0.5 if below else 0.28
    figure = Figure(figsize=(3.2 + 1.15 * len(columns), 1.6 + height * len(rows)), layout="constrained")
    panel = figure.subplots()
    known = values[~np.isnan(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    panel.imshow(values, cmap="Blues", aspect="auto", vmin=low - 0.15 * (high - low), vmax=high + 0.35 * (high - low))
    panel.set_yticks(range(len(rows)), rows, fontsize=8)
    panel.set_xticks(range(len(columns)), columns, fontsize=8, rotation=25, ha="right", rotation_mode="anchor")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = cells.NONE if math.isnan(value) else f"{value:.1f}"
        text += f"\n{below[row][column]}" if below and below[row][column] else ""
        dark = not math.isnan(value) and value > low + 0.75 * (high - low)
        panel.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "#111827")
    panel.set_title(title, fontsize=10)
    return figure


def _percent(own: ModelResult | None, metric: str) -> float:
    return math.nan if own is None else 100 * own.quality.get(metric, math.nan)


def _share(value: float | None) -> float:
    return math.nan if value is None else 100 * value


def _spread(own: ModelResult | None, metric: str) -> str:
    interval = None if own is None else own.intervals.get(metric)
    if own is None or interval is None:
        return ""
    return (
        f"± {cells.percent(own.deviations[metric])}"
        if metric in own.deviations
        else cells.percent_range(interval.low, interval.high)
    )
