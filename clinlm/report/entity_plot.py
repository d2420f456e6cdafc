"""F1 of entities label by label, with intervals, as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clinlm.report.entity_scores import EntityScores

_STRICT, _RELAXED = "#0b5fa5", "#d9822b"


def plot(rows: Sequence[EntityScores], title: str) -> Any:
    """Draw strict (dots) and relaxed (rings) F1 of every row, a panel a label, the first row on top.

    Args:
        rows: at least one, all with the same labels.
        title: above.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    labels = [*rows[0].strict]
    figure = Figure(figsize=(2.2 + 2.9 * len(labels), 1.5 + 0.42 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(labels), sharey=True, sharex=True, squeeze=False)[0]
    places = np.arange(len(rows), dtype=float)
    for panel, label in zip(panels, labels, strict=True):
        for side, colour, face, name in ((-0.13, _STRICT, _STRICT, "strict"), (0.13, _RELAXED, "white", "relaxed")):
            each = [(one.strict if name == "strict" else one.relaxed)[label] for one in rows]
            values, low, high = (100 * np.array([getattr(e, what) for e in each]) for what in ("value", "low", "high"))
            bars = np.clip(np.stack([values - low, high - values]), 0, None)  # rounding may put an end beyond its value
            style = {"fmt": "o", "markersize": 5, "elinewidth": 1.1, "color": colour, "markerfacecolor": face}
            panel.errorbar(values, places + side, xerr=bars, label=name, **style)
        panel.set(title=f"{label} ({rows[0].support[label]:,} entities)", xlabel="F1, %")
        panel.title.set_fontsize(9)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(places, [one.name for one in rows], fontsize=8)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    figure.suptitle(f"{title}: F1 by label, 95 % intervals", fontsize=11)
    return figure


def write(rows: Sequence[EntityScores], title: str, folder: Path, name: str) -> list[Path]:
    """Write <name>.svg and .png into `folder`, and return their paths."""
    from matplotlib import rc_context

    paths = [folder / f"{name}.{ending}" for ending in ("svg", "png")]
    figure = plot(rows, title)
    # Without a date and with ids of our own, the same points make the same file.
    with rc_context({"svg.hashsalt": "clinlm", "svg.fonttype": "none"}):
        figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=150)
    return paths
