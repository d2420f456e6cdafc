"""The table of a task of entities: how well every model finds them, of all labels and of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells, entity_plot, entity_scores
from clinlm.report.entity_scores import SCORES, EntityScores
from clinlm.report.row import Row

NAME = "entities"
"""Of the files, without ending."""

RULE = (
    "Strict: start, end and label are those that people gave. Relaxed: the label is, and a character is common; one "
    "true entity counts for one found at most. In brackets 95 % bootstrap intervals over documents (whole groups); a "
    "star marks a difference whose interval excludes 0. P, R and F1 of all labels together are micro averages."
)
_HEADER = ("strict P %", "strict R %", "strict F1 %", "macro F1 %", "relaxed F1 %")


def scores(rows: Sequence[Row], per_label: Mapping[str, pl.DataFrame]) -> list[EntityScores]:
    """Return the scores of every row of a comparison, in their order."""
    return [EntityScores.of_row(row, per_label[row.name]) for row in rows]


def report(
    rows: Sequence[Row], per_label: Mapping[str, pl.DataFrame], notices: Sequence[str], folder: Path
) -> list[str]:
    """Write entities.md, .json, .svg and .png into `folder`, and return lines for the terminal.

    Args:
        rows, per_label: of `clinlm.report.comparison.compare`, for a task of entities.
        notices: what has to be known of the numbers.
        folder: of the run or sweep.
    """
    found = scores(rows, per_label)
    entity_scores.write(found, notices, folder / f"{NAME}.json")
    text = f"{grid(found)}\n{RULE}\n" + "".join(f"\n- {one}" for one in notices) + "\n" * bool(notices)
    (folder / f"{NAME}.md").write_text(text, encoding="utf-8")
    entity_plot.write(found, "Entities on test", folder, NAME)
    # Who finds most, and the last model of the pipeline.
    best = max(found, key=lambda one: one.scores["micro_f1"].value)
    shown = dict.fromkeys((best.name, found[-1].name))
    told = [f"entities   {line(one)}" for one in found if one.name in shown]
    return [*told, f"entities   {folder / NAME}.md, .png"]


def line(one: EntityScores) -> str:
    """Return the scores of a row as one line."""
    labels = ", ".join(f"{label} {share(own)}" for label, own in one.strict.items())
    strict, relaxed = (share(one.scores[name]) for name in ("micro_f1", "relaxed_micro_f1"))
    return f"{one.name}: strict F1 {strict} %, relaxed {relaxed} %; {labels}"


def grid(rows: Sequence[EntityScores]) -> str:
    """Return the rows as a Markdown table; with the drop where it is told."""
    labels = [*rows[0].strict]
    dropped = any(one.drop is not None for one in rows)
    header = ["", *_HEADER, *(f"{label} F1 %" for label in labels), *(f"{label} relaxed %" for label in labels)]
    header += ["Δ strict F1", *(["against own test"] if dropped else [])]
    return cells.grid(header, [_cells(one, labels, dropped) for one in rows])


def _cells(one: EntityScores, labels: Sequence[str], dropped: bool) -> list[str]:
    numbers = [one.scores[name] for name in SCORES]
    numbers += [each[label] for each in (one.strict, one.relaxed) for label in labels]
    return [one.name, *map(share, numbers), change(one.difference), *([change(one.drop)] if dropped else [])]


def share(one: Interval) -> str:
    """A share with its interval: 57.16 (53.1–60.9)."""
    return f"{cells.percent(one.value)} ({cells.percent_range(one.low, one.high)})"


def change(one: Interval | None) -> str:
    """A difference with its interval and, where that excludes 0, a star: -1.24* (-2.1…-0.3)."""
    if one is None:
        return cells.NONE
    return f"{cells.points(one.value)}{'*' * one.significant} ({cells.points_range(one.low, one.high)})"
