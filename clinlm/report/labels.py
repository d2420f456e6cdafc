"""Quality label by label, one line a pipeline: the best of every column bold, the paper's numbers beside."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from clinlm.report import cells
from clinlm.report.published import Published

METRICS = ("precision", "recall", "f1", "auroc")
_HEADER = ("label", "pipeline", "accuracy %", "precision %", "recall %", "F1 %", "AUROC %", "paper: P/R/F1/AUROC")


def label_table(
    tables: Mapping[str, Sequence[pl.DataFrame]], published: Published | None, reading: str
) -> tuple[Table, str]:
    """Return the table for the terminal and as Markdown.

    Args:
        tables: name of a row -> its per-label tables (`clinlm.metrics.classification.per_label`), one a seed; several
            seeds
            are printed as mean ± standard deviation (n - 1).
        published: the paper's numbers; None for none.
        reading: which epoch the tables are of, for the title.
    """
    lines = _lines(tables, published)
    title = f"{published.labels_table if published and published.labels else 'Label by label'}, and ours: {reading}"
    note = "Per cent; the best of every label and metric is bold, baselines included."
    table = Table(
        title=Text(title),
        caption=Text(note),
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(_HEADER):
        table.add_column(name, justify="right" if place > 1 else "left", no_wrap=place == len(_HEADER) - 1)
    for line in lines:
        table.add_row(*(Text(cell.replace("**", ""), style="bold" if cell.startswith("**") else "") for cell in line))
    return table, f"{title}\n\n{cells.grid(_HEADER, lines)}\n{note}\n"


def _lines(tables: Mapping[str, Sequence[pl.DataFrame]], published: Published | None) -> list[list[str]]:
    names = next(iter(tables.values()))[0]["label"].to_list()
    lines = []
    for number, label in enumerate(names):
        values = {name: _values(own, number) for name, own in tables.items()}
        best = {metric: _highest(own[metric][0] for own in values.values()) for metric in ("accuracy", *METRICS)}
        for name, own in values.items():
            shown = [_cell(*own[metric], best[metric]) for metric in ("accuracy", *METRICS)]
            lines.append([label, name, *shown, _paper(published, label, name)])
    return lines


def _values(tables: Sequence[pl.DataFrame], row: int) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over seeds of every metric of one label; NaN where undefined, or of a single seed."""
    found = {}
    for metric in ("accuracy", *METRICS):
        drawn = np.array([table[metric][row] for table in tables], dtype=np.float64)
        found[metric] = float(drawn.mean()), float(drawn.std(ddof=1)) if len(drawn) > 1 else math.nan
    return found


def _highest(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return max(known, default=math.nan)


def _cell(mean: float, deviation: float, best: float) -> str:
    spread = "" if math.isnan(deviation) else f" ± {100 * deviation:.2f}"
    shown = f"{cells.percent(mean)}{spread}"
    return f"**{shown}**" if mean == best else shown


def _paper(published: Published | None, label: str, name: str) -> str:
    numbers = published.labels.get(label, {}).get(name) if published else None
    return "/".join(cells.two(number) for number in numbers) if numbers else cells.NONE
