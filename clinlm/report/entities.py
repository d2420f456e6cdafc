"""The table and the plot of a task of entities: how well every model finds them, overall and by label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from clinlm.metrics.bootstrap import Interval
from clinlm.pipeline.run_record import write_run_file
from clinlm.report import cells
from clinlm.report.conclusion import conclusion_markdown
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult, results_content
from clinlm.report.tables import change

NAME = "entities"
"""Of the files, without ending."""

SCORES: Final = ("micro_precision", "micro_recall", "micro_f1", "macro_f1", "relaxed_micro_f1")
"""Metrics over all labels; strict, except for the relaxed one."""

RULE = (
    "Strict: start, end and label must equal those of people. Relaxed: the label must, and one character must be "
    "common; a true entity counts for one found at most. In brackets 95 % bootstrap intervals over documents (whole "
    "groups); a star marks a difference whose interval excludes 0. P, R and F1 over all labels are micro averages."
)
HEADER = ("strict P %", "strict R %", "strict F1 %", "macro F1 %", "relaxed F1 %")
_STRICT, _RELAXED = "#0b5fa5", "#d9822b"


def write_entities(
    results: Sequence[ModelResult],
    notices: Sequence[str],
    folder: Path,
    name: str,
    title: str,
    note: str = "",
    conclusion: Sequence[str] = (),
) -> None:
    """Write <name>.md, .json, .svg and .png into `folder`.

    Args:
        results: of a comparison on a task of entities.
        notices: what limits the numbers.
        name: of the files, without ending.
        note: added to the rule below the table.
        conclusion: sentences; written above it.
    """
    write_run_file(folder / f"{name}.json", results_content(results, notices, conclusion))
    rule = f"{RULE} {note}" if note else RULE
    text = f"{conclusion_markdown(conclusion)}{entity_grid(results)}\n{rule}\n"
    text += "".join(f"\n- {notice}" for notice in notices) + "\n" * bool(notices)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    save_figure(plot_entities(results, title), folder, name)


def entity_line(result: ModelResult) -> str:
    """Return the scores of a result in one line."""
    labels = ", ".join(f"{label} {estimate(own)}" for label, own in result.label_estimates("f1").items())
    strict, relaxed = (estimate(result.estimate(name)) for name in ("micro_f1", "relaxed_micro_f1"))
    return f"{result.name}: strict F1 {strict} %, relaxed {relaxed} %; {labels}"


def entity_grid(results: Sequence[ModelResult]) -> str:
    """Return the results as a Markdown table, with the drop on an external corpus where one was measured."""
    dropped = any(result.drop is not None for result in results)
    header = ["", *HEADER, *label_header(results[0]), "Δ strict F1", *(["against own test"] if dropped else [])]
    rows = []
    for result in results:
        ending = [change(result.differences.get("micro_f1")), *([change(result.drop)] if dropped else [])]
        rows.append([result.name, *entity_scores(result), *ending])
    return cells.grid(header, rows)


def label_header(result: ModelResult) -> list[str]:
    """Return the headers of the F1 of every label: strict, then relaxed."""
    labels = [row["label"] for row in result.per_label]
    return [*(f"{label} F1 %" for label in labels), *(f"{label} relaxed %" for label in labels)]


def entity_scores(result: ModelResult) -> list[str]:
    """Return the cells below `HEADER` and `label_header`."""
    every = [result.estimate(name) for name in SCORES]
    every += [own for metric in ("f1", "relaxed_f1") for own in result.label_estimates(metric).values()]
    return [estimate(own) for own in every]


def estimate(own: Interval) -> str:
    """Return a share with its interval: 57.16 (53.1–60.9)."""
    return f"{cells.percent(own.value)} ({cells.percent_range(own.low, own.high)})"


def plot_entities(results: Sequence[ModelResult], title: str) -> Any:
    """Draw strict (dots) and relaxed (rings) F1 of every result, a panel for every label, the first result on top.

    Returns:
        a `matplotlib.figure.Figure`; no window is opened and no global state is touched.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    support = {row["label"]: row["support"] for row in results[0].per_label}
    figure = Figure(figsize=(2.2 + 2.9 * len(support), 1.5 + 0.42 * len(results)), layout="constrained")
    panels = figure.subplots(1, len(support), sharey=True, sharex=True, squeeze=False)[0]
    places = np.arange(len(results), dtype=float)
    styles = (("f1", "strict", -0.13, _STRICT, _STRICT), ("relaxed_f1", "relaxed", 0.13, _RELAXED, "white"))
    for panel, (label, count) in zip(panels, support.items(), strict=True):
        for metric, name, side, colour, face in styles:
            each = [result.label_estimates(metric)[label] for result in results]
            values, low, high = (100 * np.array([getattr(e, what) for e in each]) for what in ("value", "low", "high"))
            bars = np.clip(np.stack([values - low, high - values]), 0, None)  # rounding may put an end beyond its value
            style = {"fmt": "o", "markersize": 5, "elinewidth": 1.1, "color": colour, "markerfacecolor": face}
            panel.errorbar(values, places + side, xerr=bars, label=name, **style)
        panel.set(title=f"{label} ({count:,} entities)", xlabel="F1, %")
        panel.title.set_fontsize(9)
        panel.grid(alpha=0.25, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(places, [result.name for result in results], fontsize=8)
    panels[0].set_ylim(len(results) - 0.5, -0.5)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    figure.suptitle(f"{title}: F1 by label, 95 % intervals", fontsize=11)
    return figure
