"""A validation as files: Markdown with the summary first, JSON, the disagreements and the reliability diagram."""

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.calibration import Calibration
from clinlm.metrics.disagreements import SYSTEMATIC, Pattern
from clinlm.metrics.fairness import TINY, Fairness, Subgroup
from clinlm.pipeline.run_record import write_run_file
from clinlm.report import cells
from clinlm.report.plots import save_figure
from clinlm.report.results import json_value
from clinlm.report.validation import MetricDrop, Validation

_PATTERNS = 20
"""Most systematic patterns, and most small subgroups of an attribute, that are listed; validation.json has all."""
_SMALL = 4
_COLOURS = ("#5f6368", "#0b5fa5", "#d9822b")


def write_validation(validation: Validation, folder: Path) -> list[Path]:
    """Write validation.md, validation.json, disagreements.csv, reliability.svg and .png, and return their paths.

    Numbers that are undefined or infinite are null in JSON.
    """
    paths = [folder / name for name in ("validation.md", "validation.json", "disagreements.csv")]
    paths[0].write_text(validation_markdown(validation), encoding="utf-8")
    write_run_file(paths[1], json_value(validation))
    validation.disagreements.write_csv(paths[2])
    figure = plot_reliability(validation.calibration, validation.answers)
    return [*paths, *save_figure(figure, folder, "reliability")]


def validation_markdown(validation: Validation) -> str:
    """Return the whole text, the summary first."""
    parts = [
        f"# {validation.compressed} against {validation.original}",
        "\n".join(f"- {line}" for line in validation_summary(validation)),
        "## Quality",
        _quality(validation),
        "## Calibration",
        _calibration(validation),
        "## Subgroups",
        _fairness(validation),
        "## Disagreements",
        _disagreements(validation),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def validation_summary(validation: Validation) -> list[str]:
    """Return what a reader needs first, a line each: documents, quality, agreement, subgroups, patterns."""
    drawn = "documents" if validation.units == validation.documents else f"their {validation.units:,} groups"
    lines = [
        f"{validation.documents:,} test documents, the same for both; intervals are 95 %, by bootstrap over {drawn}"
    ]
    lines.append("; ".join(f"{name} {_change(validation.drops[name])}" for name in ("macro_f1", "macro_auroc")))
    found = validation.agreement
    lines.append(
        f"decisions agree in {_share(found.cells)} of documents x labels and in {_share(found.documents)} of documents;"
        f" Cohen's kappa {_plain(found.kappa)}"
    )
    gaps = {name: gap for name, gap in validation.fairness.items() if not math.isnan(gap.difference.value)}
    if gaps:
        name, worst = max(gaps.items(), key=lambda gap: gap[1].difference.value)
        change = worst.difference
        lines.append(
            f"gap between subgroups that changes most: {name}, {cells.points(change.value)} points "
            f"({cells.points_range(change.low, change.high)}), ratio {cells.times(worst.ratio.value)}"
        )
    count = sum(pattern.systematic for pattern in validation.patterns)
    patterns = "pattern" if count == 1 else "patterns"
    lines.append(f"{count} systematic {patterns} of disagreement among {len(validation.patterns)} features tested")
    return lines


def _quality(validation: Validation) -> str:
    header = (
        *("metric", f"{validation.original} %", f"{validation.compressed} %", "change, points", "95 %", "p"),
        *("change, % of original", "95 %"),
    )
    rows = [
        [
            name, cells.percent(drop.original), cells.percent(drop.compressed), cells.points(drop.change.value),
            cells.points_range(drop.change.low, drop.change.high), _p(drop.change.p),
            cells.points(drop.percent.value / 100), cells.points_range(drop.percent.low / 100, drop.percent.high / 100),
        ]
        for name, drop in validation.drops.items()
    ]  # fmt: skip
    return cells.grid(header, rows)


def _calibration(validation: Validation) -> str:
    rows = []
    for name, calibration in validation.calibration.items():
        temperature = validation.temperatures.get(name)
        ece, brier = calibration.ece, calibration.brier
        rows.append(
            [
                name, *_points(ece), cells.percent(calibration.chance), f"{brier.value:.4f}",
                f"{brier.low:.4f}–{brier.high:.4f}", cells.two(temperature),
            ]
        )  # fmt: skip
    change = validation.calibration_change["ece"]
    bins = len(next(iter(validation.calibration.values())).curve)
    return (
        cells.grid(("model", "ECE %", "95 %", "by noise alone", "Brier", "95 %", "temperature"), rows)
        + f"\nECE of {bins} equal bins changes by {cells.points(change.value)} points "
        f"({cells.points_range(change.low, change.high)}). Temperatures were fitted on validation; `tempered` applies "
        f"that of {validation.compressed}. Curves: reliability.svg."
    )


def _fairness(validation: Validation) -> str:
    if not validation.fairness:
        return "The corpus has no attributes to compare subgroups by." + _notices(validation)
    rows = [_gap(name, fairness) for name, fairness in validation.fairness.items()]
    header = (
        "attribute",
        "subgroups",
        "labels",
        "gap before",
        "95 %",
        "gap after",
        "95 %",
        "change",
        "95 %",
        "ratio",
        "95 %",
    )
    detail = [row for name, fairness in validation.fairness.items() for row in _subgroups(name, fairness)]
    columns = ("subgroup", "documents", f"{validation.original} %", "95 %", f"{validation.compressed} %", "95 %")
    small = f"those unknown or of fewer than {validation.settings.minimum_documents} documents (small)"
    return (
        f"Gaps of {validation.settings.metric} in points, best minus worst subgroup. A ratio counts gaps below "
        f"{100 * TINY:g} points as that; noise widens gaps and draws ratios towards 1. Macro means are over labels "
        f"that all subgroups counted have.{_notices(validation)}\n\n{cells.grid(header, rows)}\n"
        f"<details><summary>Every subgroup; {small} are in no gap</summary>\n\n"
        f"{cells.grid(columns, detail)}\n</details>"
    )


def _gap(name: str, fairness: Fairness) -> list[str]:
    counted = sum(subgroup.standing == "counted" for subgroup in fairness.subgroups)
    change, ratio = fairness.difference, fairness.ratio
    return [
        *(name, str(counted), str(len(fairness.labels)), *_points(fairness.before), *_points(fairness.after)),
        *(cells.points(change.value), cells.points_range(change.low, change.high)),
        *(cells.times(ratio.value), cells.three_range(ratio.low, ratio.high)),
    ]


def _subgroups(name: str, fairness: Fairness) -> list[list[str]]:
    shown = [subgroup for subgroup in fairness.subgroups if subgroup.standing != "small"]
    small = [subgroup for subgroup in fairness.subgroups if subgroup.standing == "small"]
    rows = [_subgroup(name, subgroup) for subgroup in [*shown, *islice(small, _SMALL)]]
    if len(small) > _SMALL:
        rest = small[_SMALL:]
        documents = sum(subgroup.documents for subgroup in rest)
        rows.append([f"{name}: {len(rest)} more (small)", f"{documents:,}", *[cells.NONE] * 4])
    return rows


def _subgroup(name: str, own: Subgroup) -> list[str]:
    mark = " (small)" if own.standing == "small" else ""
    values = [cell for calibration in (own.original, own.compressed) for cell in _points(calibration)]
    return [f"{name}: {own.name}{mark}", f"{own.documents:,}", *values]


def _disagreements(validation: Validation) -> str:
    table = validation.disagreements
    right = int((table["truth"] == table["original"]).sum())
    documents = table["id"].n_unique()
    count = (
        f"{len(table):,} decisions differ, in {documents:,} documents: the original is right in {right:,}, "
        f"{validation.compressed} in {len(table) - right:,}. disagreements.csv lists them with the ids of your file: "
        "it is for this machine only. No other file has ids, and none has texts."
    )
    systematic = [pattern for pattern in validation.patterns if pattern.systematic]
    shown = systematic[:_PATTERNS] or validation.patterns[:3]
    verdict = f"Systematic (adjusted p < {SYSTEMATIC:g}): {len(systematic)}" + (
        f", of which {_PATTERNS} are shown" if len(systematic) > _PATTERNS else ""
    )
    verdict += "." if systematic else "; the lowest adjusted p:"
    header = ("feature", "documents", "differ inside %", "outside %", "risk ratio", "p", "adjusted p")
    return f"{count}\n\n{verdict}\n\n{cells.grid(header, [_pattern(pattern) for pattern in shown])}"


def _pattern(pattern: Pattern) -> list[str]:
    return [
        f"{pattern.feature}: {pattern.value}", f"{pattern.documents:,}",
        cells.percent(pattern.inside), cells.percent(pattern.outside),
        "∞" if math.isinf(pattern.ratio) else cells.times(pattern.ratio), _p(pattern.p), _p(pattern.adjusted_p),
    ]  # fmt: skip


def _notices(validation: Validation) -> str:
    return "".join(f"\n\n{notice}." for notice in validation.notices)


def _change(drop: MetricDrop) -> str:
    change = drop.change
    return (
        f"{cells.percent(drop.original)} → {cells.percent(drop.compressed)} %, {cells.points(change.value)} points "
        f"({cells.points_range(change.low, change.high)}, p {_p(change.p)})"
    )


def _points(interval: Interval) -> list[str]:
    return [cells.percent(interval.value), cells.percent_range(interval.low, interval.high)]


def _share(interval: Interval) -> str:
    value, spread = _points(interval)
    return f"{value} % ({spread})"


def _plain(interval: Interval) -> str:
    return f"{cells.three(interval.value)} ({cells.three_range(interval.low, interval.high)})"


def _p(p: float) -> str:
    """Return p with three decimals, or `< .001`."""
    return cells.NONE if math.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


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
    most = max(bin.count for calibration in curves.values() for bin in calibration.curve)
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
    filled = [bin for bin in calibration.curve if bin.count]
    confidence = np.array([bin.confidence for bin in filled])
    frequency = np.array([bin.frequency.value for bin in filled])
    ends = np.array([[bin.frequency.low, bin.frequency.high] for bin in filled])
    count = np.array([bin.count for bin in filled])
    # A bin of few documents may have an interval that leaves its value out by rounding.
    bars = np.clip(np.stack([frequency - ends[:, 0], ends[:, 1] - frequency]), 0, None)
    panel.errorbar(confidence, frequency, yerr=bars, color=colour, linewidth=1.2, elinewidth=0.8, alpha=0.85)
    panel.scatter(confidence, frequency, s=12 + 120 * count / count.sum(), color=colour, linewidths=0, label=name)
    middle, width = np.array([(bin.low + bin.high) / 2 for bin in filled]), filled[0].high - filled[0].low
    bar = 0.28 * width
    below.bar(middle + side * bar, count, width=bar, color=colour, linewidth=0)
