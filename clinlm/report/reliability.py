"""Reliability diagram: observed frequency against predicted confidence."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clinlm.metrics.calibration import Calibration

_COLOURS = ("#5f6368", "#0b5fa5", "#d9822b")


def plot_reliability(curves: Mapping[str, Calibration], answers: str) -> Any:
    """Draw observed frequency against mean confidence of every model, and below it the answers in every bin.

    Bins without answers have no point; bars are 95 % intervals, dots grow with the share of the answers.

    Args:
        curves: by name, at most three; the first is the reference.
        answers: what is counted, such as `documents x labels`.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib import ticker
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.4), layout="constrained")
    panel, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    panel.plot([0, 1], [0, 1], color="#d0d4d9", linewidth=1, linestyle="--", zorder=0)
    for place, (name, calibration) in enumerate(curves.items()):
        _line(panel, below, name, calibration, _COLOURS[place], place - (len(curves) - 1) / 2)
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed frequency")
    panel.legend(frameon=False, fontsize=8, loc="upper left")
    most = max(each.count for calibration in curves.values() for each in calibration.curve)
    below.set(xlabel="confidence", yscale="log", ylim=(0.7, 2 * most), ylabel=f"{answers}\na bin")
    below.yaxis.label.set_fontsize(8)
    below.yaxis.set_major_locator(ticker.LogLocator(numticks=5))
    below.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    below.yaxis.set_minor_locator(ticker.NullLocator())
    for axes in (panel, below):
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Reliability on test: on the diagonal, confidence equals observed frequency", fontsize=11)
    return figure


def _line(panel: Any, below: Any, name: str, calibration: Calibration, colour: str, side: float) -> None:
    filled = [each for each in calibration.curve if each.count]
    confidence = np.array([each.confidence for each in filled])
    frequency = np.array([each.frequency.value for each in filled])
    ends = np.array([[each.frequency.low, each.frequency.high] for each in filled])
    count = np.array([each.count for each in filled])
    # A bin of few documents may have an interval that leaves its value out by rounding.
    bars = np.clip(np.stack([frequency - ends[:, 0], ends[:, 1] - frequency]), 0, None)
    panel.errorbar(confidence, frequency, yerr=bars, color=colour, linewidth=1.2, elinewidth=0.8, alpha=0.85)
    panel.scatter(confidence, frequency, s=12 + 120 * count / count.sum(), color=colour, linewidths=0, label=name)
    middle, width = np.array([(each.low + each.high) / 2 for each in filled]), filled[0].high - filled[0].low
    bar = 0.28 * width
    below.bar(middle + side * bar, count, width=bar, color=colour, linewidth=0)
