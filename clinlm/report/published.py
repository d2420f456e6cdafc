"""Published tables, kept as data in conf/published/, beside the numbers measured here."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from omegaconf import OmegaConf
from rich import box
from rich.table import Table
from rich.text import Text

from clinlm.config.validation import CONF
from clinlm.metrics.economics import times_cheaper, times_faster
from clinlm.report import cells
from clinlm.report.row import Row

_OURS: Mapping[str, tuple[str, Callable[[Row, Row | None], float | None]]] = {
    "accuracy": ("acc.\n%", lambda row, first: _percent(row, "accuracy")),
    "micro_f1": ("micro F1\n%", lambda row, first: _percent(row, "micro_f1")),
    "macro_precision": ("precision\n%", lambda row, first: _percent(row, "macro_precision")),
    "macro_recall": ("recall\n%", lambda row, first: _percent(row, "macro_recall")),
    "macro_auroc": ("AUROC\n%", lambda row, first: _percent(row, "macro_auroc")),
    "macro_auroc_ovo": ("AUROC\n1v1 %", lambda row, first: _percent(row, "macro_auroc_ovo")),
    "macro_f1": ("macro F1\n%", lambda row, first: _percent(row, "macro_f1")),
    "size_mb": ("size\nMB", lambda row, first: row.bytes / 1e6),
    "latency_ms": ("latency\nms", lambda row, first: row.latency.p50_ms if row.latency else None),
    "parameters_m": ("param.\nM", lambda row, first: row.parameters / 1e6),
    "compression": ("compr.\n×", lambda row, first: row.compression_parameters),
    "compression_bytes": ("bytes\n×", lambda row, first: row.compression_bytes),
    "speedup": ("speed-up\n×", lambda row, first: _faster(row, first)),
    "medication_f1": ("medic.\nF1 %", lambda row, first: _percent(row, "medication_f1")),
    "disease_f1": ("disease\nF1 %", lambda row, first: _percent(row, "disease_f1")),
    "symptom_f1": ("symptom\nF1 %", lambda row, first: _percent(row, "symptom_f1")),
    "times_faster": ("faster\n×", lambda row, first: _sooner(row)),
    "times_cheaper": ("cheaper\n×", lambda row, first: _cheaper(row)),
}
"""Column of a published table -> its header here, and the same number of a row of ours (and of our first pipeline)."""


_THREE_DIGITS = (
    *("size_mb", "parameters_m", "compression", "compression_bytes", "speedup"),
    *("times_faster", "times_cheaper"),
)


@final
@dataclass(frozen=True)
class Published:
    """A table as printed in a paper.

    Attributes:
        source: the paper.
        table: which of its tables.
        columns: names, keys of the columns known here.
        rows: pipeline -> its numbers, in the order of `columns`, NaN where it has none; speed-ups refer to the
            first row.
        notes: what has to be known to compare with it: contradictions, and the reading taken.
        last_epoch: whether the paper reports its last epoch, whichever was best.
        labels_table: which of its tables has the numbers per label.
        labels: label -> pipeline -> precision, recall, F1 and AUROC in per cent; empty if the paper has none.
    """

    source: str
    table: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()
    last_epoch: bool = False
    labels_table: str = ""
    labels: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> "Published":
        """Read `name` as report.published gives it: of a file, or FILE:TASK of one that has a table for each task."""
        file, _, task = name.partition(":")
        return cls.read(CONF / "published" / f"{file}.yaml", task)

    @classmethod
    def read(cls, path: Path, task: str = "") -> "Published":
        """Read conf/published/<name>.yaml.

        Args:
            path: of the file.
            task: whose table, where the file has `tasks`: under each of them the fields that differ.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a field is missing, a column is unknown, a row is shorter or longer than the columns, or `task`
                is none of the file's.
        """
        if not path.is_file():
            raise FileNotFoundError(f"a published table is a yaml file; {path} is missing")
        data: Any = _of_task(OmegaConf.to_container(OmegaConf.load(path)), task, path)
        missing = [name for name in ("source", "table", "columns", "rows") if name not in data]
        if missing:
            raise ValueError(f"a published table needs source, table, columns and rows; {path} lacks {missing}")
        unknown = [name for name in data["columns"] if name not in _OURS]
        if unknown:
            raise ValueError(f"the columns of a published table are {', '.join(_OURS)}; {path} has {unknown}")
        rows = {
            str(name): tuple(math.nan if number is None else float(number) for number in numbers)
            for name, numbers in data["rows"].items()
        }
        uneven = [name for name, numbers in rows.items() if len(numbers) != len(data["columns"])]
        if uneven:
            raise ValueError(f"every row has one number per column; in {path} rows {uneven} have not")
        labels = {
            str(label): {str(k): tuple(v) for k, v in own.items()} for label, own in data.get("labels", {}).items()
        }
        short = [label for label, own in labels.items() if any(len(numbers) != 4 for numbers in own.values())]
        if short:
            raise ValueError(f"a label has precision, recall, F1 and AUROC per row; in {path} {short} have not")
        head = (data["source"], data["table"], tuple(data["columns"]), rows, tuple(data.get("notes", ())))
        return cls(*head, bool(data.get("last_epoch", False)), data.get("labels_table", ""), labels)

    def has(self, pipelines: Iterable[str]) -> bool:
        """Whether one of `pipelines` is among the paper's, in capitals or not."""
        return bool({name.casefold() for name in self.rows} & {name.casefold() for name in pipelines})


def _of_task(data: Any, task: str, path: Path) -> Any:
    """The fields of one task's table."""
    tasks = data.get("tasks", {})
    if task not in (tasks or ("",)):
        known = ", ".join(f"{path.stem}:{name}" for name in tasks) or path.stem
        raise ValueError(f"a run has one task; {path} has no table of {task!r}; set report.published to {known}")
    return data | tasks[task] if tasks else data


Readings = Mapping[str, Mapping[str, Row]]
"""Pipeline ("A" or "a", as in the paper) or any other name ("teacher", "TF-IDF") -> reading ("ours") -> its row."""


def side_by_side(rows_by_pipeline: Readings, published: Published) -> tuple[Table, str]:
    """The paper's numbers above ours, pipeline by pipeline, then the rows that the paper has not.

    Accuracy is label-wise, latency the median, compression that of parameters against our reference. The paper's
    speed-up refers to its first pipeline, so ours does too if that is among the rows (else "–"); the last columns give
    our size, our latency where the paper has none, and our speed-up against the reference of the run. Where a row is a
    mean over seeds, the standard deviation stands behind it.

    Args:
        rows_by_pipeline: ours; several readings of one pipeline (last epoch, best epoch) stand below each other.
        published: the paper's table.

    Returns:
        The table for the terminal, and the same as Markdown.
    """
    header = ["pipeline", "", *(_OURS[name][0] for name in published.columns), *_costs(published), "vs ref.\n×"]
    lines = _lines(rows_by_pipeline, published)
    title, first = f"{published.table}, and ours", next(iter(published.rows))
    note = f"Source: {published.source}. Speed-up × refers to pipeline {first}, vs ref. × to the reference of our run."
    table = Table(
        title=Text(title),
        caption=Text("\n".join([note, *published.notes])),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place > 1 else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line), style="dim" if line[1] == "paper" else "")
    text = f"{title}\n\n{cells.grid(header, lines)}\n{note}\n\n" + "".join(f"- {each}\n" for each in published.notes)
    return table, text


def _lines(rows: Readings, published: Published) -> list[list[str]]:
    ours = {name.casefold(): own for name, own in rows.items()}
    first = next(iter(ours.get(next(iter(published.rows)).casefold(), {}).values()), None)
    lines = []
    for name, numbers in published.rows.items():
        shown = [_shown(column, number) for column, number in zip(published.columns, numbers, strict=True)]
        lines.append([name, "paper", *shown, *(cells.NONE for _ in _costs(published)), cells.NONE])
        for reading, row in ours.get(name.casefold(), {}).items():
            lines.append([name, reading, *_numbers(row, first, published)])
    printed = {name.casefold() for name in published.rows}
    for name, own in rows.items():
        if name.casefold() not in printed:
            lines += [[name, reading, *_numbers(row, first, published)] for reading, row in own.items()]
    return lines


def _numbers(row: Row, first: Row | None, published: Published) -> list[str]:
    shown = [
        _shown(column, _OURS[column][1](row, first)) + _deviation(row.deviations.get(column))
        for column in published.columns
    ]
    costs = [cells.three(number(row)) for number in _costs(published).values()]
    return [*shown, *costs, cells.three(row.latency.speedup if row.latency else None)]


def _costs(published: Published) -> Mapping[str, Callable[[Row], float | None]]:
    """What a comparison of compressed models has to tell, and the paper's table does not."""
    found: dict[str, Callable[[Row], float | None]] = {}
    if "size_mb" not in published.columns:
        found["size\nMB"] = lambda row: row.bytes / 1e6 if row.bytes else None  # a labeler has none
    if "latency_ms" not in published.columns:
        found["p50\nms"] = lambda row: row.latency.p50_ms if row.latency else None
    return found


def _deviation(share: float | None) -> str:
    return "" if share is None else f" ± {100 * share:.2f}"


def _shown(column: str, number: float | None) -> str:
    printed_with_two = column not in _THREE_DIGITS
    return cells.two(number) if printed_with_two else cells.three(number)


def _percent(row: Row, metric: str) -> float | None:
    return 100 * row.quality[metric] if metric in row.quality else None


def _sooner(row: Row) -> float | None:
    return None if row.takes is None or row.labeler_takes is None else times_faster(row.takes, row.labeler_takes)


def _cheaper(row: Row) -> float | None:
    """None where one of the two has no price."""
    own, labeler = row.takes, row.labeler_takes
    if own is None or labeler is None or not (own.currency and labeler.currency):
        return None
    return times_cheaper(own, labeler)


def _faster(row: Row, first: Row | None) -> float | None:
    return first.latency.p50_ms / row.latency.p50_ms if first and first.latency and row.latency else None
