"""The plot of uncertainty: risk against the share of answers, and measured against nominal coverage."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clinlm.metrics.uncertainty import SHARES, Uncertainty
from clinlm.report.baselines import BASELINE, BASELINES
from clinlm.report.results import ModelResult

_BASELINE_STYLES = {name: ("#6b7280", "--", "^") if name == BASELINE else ("#1f2937", ":", "v") for name in BASELINES}
_STYLES = (("#0b5fa5", "-", "o"), ("#d9822b", "-", "s"), _BASELINE_STYLES[BASELINE])


def drawn_results(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the teacher, the last stage and both TF-IDF: those of them that were measured, in this order."""
    measured = [result for result in results if result.uncertainty is not None]
    stages = [result for result in measured if result.kind == "stage"]
    chosen = [
        *[result for result in stages if result.role == "teacher"][:1],
        *stages[-1:],
        *[result for result in measured if result.name in BASELINES],
    ]
    return list({result.name: result for result in chosen or measured[:3]}.values())


def plot_uncertainty(results: Sequence[ModelResult], split: str) -> Any:
    """Draw the risk of the answers that remain, and measured coverage with its intervals.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    risk, coverage = figure.subplots(1, 2)
    unit = "notes"
    nominal = np.array([])
    for place, result in enumerate(drawn_results(results)):
        own = result.uncertainty
        assert own is not None
        unit = own.unit
        styles = _BASELINE_STYLES[result.name] if result.name in BASELINES else _STYLES[place]
        colour, line, marker = styles
        shares = 100 * np.array(SHARES)
        label = f"{result.name} (AURC {100 * own.aurc.value:.1f} %)"
        style = {"color": colour, "marker": marker, "markevery": 4, "markersize": 5, "label": label}
        risk.plot(shares, 100 * np.array(own.curve), line, **style)
        nominal = _draw_coverage(coverage, own, 0.45 * (place - 1.5), styles)
    risk.set(
        xlabel=f"{unit} answered, % (most confident first)", ylabel=f"{unit} with a wrong answer, %", xlim=(0, 100)
    )
    risk.set_ylim(bottom=0)
    risk.set_title("Risk of the answers that remain", fontsize=10)
    ends = (nominal.min() - 6, 100)
    coverage.plot(ends, ends, color="#9aa0a6", linewidth=1, zorder=0)
    coverage.set(xlabel="nominal coverage, %", ylabel="measured, %", xlim=ends, xticks=nominal)
    coverage.set_title("Coverage of the sets of possible labels, 95 % intervals", fontsize=10)
    for panel in (risk, coverage):
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(*risk.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(f"Uncertainty on {split}", fontsize=11)
    return figure


def _draw_coverage(panel: Any, own: Uncertainty, beside: float, style: tuple[str, str, str]) -> Any:
    """Draw the coverage of a model at every level, a little beside the others, and return the levels in per cent."""
    colour, _, marker = style
    nominal = 100 * np.array([level.coverage for level in own.levels])
    value, low, high = (
        100 * np.array([getattr(level.sets, end) for level in own.levels]) for end in ("value", "low", "high")
    )
    bars = np.clip(np.stack([value - low, high - value]), 0, None)
    panel.errorbar(
        nominal + beside,
        value,
        yerr=bars,
        fmt=marker,
        color=colour,
        markersize=5,
        elinewidth=1.2,
    )
    return nominal
