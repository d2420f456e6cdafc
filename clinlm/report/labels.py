"""Quality by label, a line for every model: the best of every column bold, with a paper's numbers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from clinlm.report import cells
from clinlm.report.results import ModelResult
from clinlm.report.terminal import text_table

METRICS = ("precision", "recall", "f1", "auroc")
_HEADER = ("label", "pipeline", "accuracy %", "precision %", "recall %", "F1 %", "AUROC %", "paper: P/R/F1/AUROC")
Labels = Sequence[Mapping[str, Any]]
"""`ModelResult.per_label`."""
Paper = Mapping[str, Mapping[str, Sequence[float]]]
"""Label -> pipeline -> precision, recall, F1 and AUROC in per cent."""

_NOTE = "Per cent; the best of every label and metric is bold, baselines included."


def label_table(groups: Mapping[str, Sequence[ModelResult]], title: str, paper: Paper) -> tuple[Table, str]:
    """Return the table for the terminal and as Markdown.

    Args:
        groups: name -> its results, one a seed; several are printed as mean ± standard deviation (n - 1).
        paper: the numbers of a paper; empty for none.
    """
    lines = _lines({name: [result.per_label for result in own] for name, own in groups.items()}, paper)
    return text_table(title, _NOTE, _HEADER, lines), f"{title}\n\n{cells.grid(_HEADER, lines)}\n{_NOTE}\n"


def _lines(tables: Mapping[str, Sequence[Labels]], paper: Paper) -> list[list[str]]:
    names = [row["label"] for row in next(iter(tables.values()))[0]]
    lines = []
    for number, label in enumerate(names):
        values = {name: _values(own, number) for name, own in tables.items()}
        best = {metric: _highest(own[metric][0] for own in values.values()) for metric in ("accuracy", *METRICS)}
        for name, own in values.items():
            shown = [_cell(*own[metric], best[metric]) for metric in ("accuracy", *METRICS)]
            lines.append([label, name, *shown, _printed(paper, label, name)])
    return lines


def _values(tables: Sequence[Labels], row: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds of every metric of one label; NaN where undefined, or of a single seed."""
    found = {}
    for metric in ("accuracy", *METRICS):
        drawn = np.array([table[row].get(metric) for table in tables], dtype=np.float64)
        found[metric] = float(drawn.mean()), float(drawn.std(ddof=1)) if len(drawn) > 1 else math.nan
    return found


def _highest(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known, default=math.nan)


def _cell(mean: float, deviation: float, best: float) -> str:
    spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.2f}"
    shown = f"{cells.percent(mean)}{spread}"
    return f"**{shown}**" if mean == best else shown


def _printed(paper: Paper, label: str, name: str) -> str:
    numbers = paper.get(label, {}).get(name)
    return "/".join(cells.two(number) for number in numbers) if numbers else cells.NONE
