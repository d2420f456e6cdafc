"""Published tables, kept as data in conf/published/, and the results measured here in the same columns."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from omegaconf import OmegaConf
from rich.table import Table

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.config.validation import CONF
from clinlm.metrics.economics import times_cheaper, times_faster
from clinlm.pipeline.run_record import write_run_file
from clinlm.report import cells, timing
from clinlm.report.conclusion import conclusion_markdown
from clinlm.report.labels import label_table
from clinlm.report.placement import CRITERIA, Places, rows_of_ours
from clinlm.report.results import ModelResult
from clinlm.report.terminal import text_table

PUBLISHED = "published.json"
"""The cells of a published table with ours."""
KEPT, LAST, DEPLOYED = "ours", "ours, last epoch", "ours, deployed"
_HOW = (
    "ours is the epoch that was best on validation; last epoch is that of a pipeline's last stage, which began from "
    "the best of the stage before; what does not train in epochs is read from the best of the stage before",
    "± is the standard deviation over seeds (n - 1)",
)

_OURS: Mapping[str, tuple[str, Callable[[ModelResult, ModelResult | None], float | None]]] = {
    "accuracy": ("acc.\n%", lambda own, first: _percent(own, "accuracy")),
    "micro_f1": ("micro F1\n%", lambda own, first: _percent(own, "micro_f1")),
    "macro_precision": ("precision\n%", lambda own, first: _percent(own, "macro_precision")),
    "macro_recall": ("recall\n%", lambda own, first: _percent(own, "macro_recall")),
    "macro_auroc": ("AUROC\n%", lambda own, first: _percent(own, "macro_auroc")),
    "macro_auroc_ovo": ("AUROC\n1v1 %", lambda own, first: _percent(own, "macro_auroc_ovo")),
    "macro_f1": ("macro F1\n%", lambda own, first: _percent(own, "macro_f1")),
    "size_mb": ("size\nMB", lambda own, first: own.bytes / 1e6),
    "latency_ms": ("latency\nms", lambda own, first: own.p50_ms),
    "parameters_m": ("param.\nM", lambda own, first: own.parameters / 1e6),
    "compression": ("compr.\n×", lambda own, first: own.compression_parameters),
    "compression_bytes": ("bytes\n×", lambda own, first: own.compression_bytes),
    "speedup": ("speed-up\n×", lambda own, first: _faster(own, first)),
    "medication_f1": ("medic.\nF1 %", lambda own, first: _percent(own, "medication_f1")),
    "disease_f1": ("disease\nF1 %", lambda own, first: _percent(own, "disease_f1")),
    "symptom_f1": ("symptom\nF1 %", lambda own, first: _percent(own, "symptom_f1")),
    "times_faster": ("faster\n×", lambda own, first: _sooner(own)),
    "times_cheaper": ("cheaper\n×", lambda own, first: _cheaper(own)),
}
"""Column of a published table -> its header, and the same number of a result (and of that of our first pipeline)."""

_THREE_DIGITS = (
    *("size_mb", "parameters_m", "compression", "compression_bytes", "speedup"),
    *("times_faster", "times_cheaper"),
)
_TIMED = ("latency_ms", "speedup", "times_faster")
"""Columns that depend on our latency."""


@final
@dataclass(frozen=True)
class Published:
    """A table as printed in a paper.

    Attributes:
        columns: names, keys of the columns known here.
        rows: pipeline -> its numbers, in the order of `columns`, NaN where it has none; speed-ups refer to the
            first row.
        notes: contradictions, and how they are read.
        last_epoch: whether the paper reports its last epoch, whichever was best.
        labels_table: which of its tables has the numbers per label.
        labels: label -> pipeline -> precision, recall, F1 and AUROC in per cent; empty if the paper has none.
        ours: row -> which of our results belong there; see `clinlm.report.placement.rows_of_ours`.
    """

    source: str
    table: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()
    last_epoch: bool = False
    labels_table: str = ""
    labels: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    ours: Places = field(default_factory=dict)

    @classmethod
    def named(cls, name: str) -> "Published":
        """Read `name` as in report.published: FILE, or FILE:TASK where the file has a table for each task."""
        file, _, task = name.partition(":")
        return cls.read(CONF / "published" / f"{file}.yaml", task)

    @classmethod
    def read(cls, path: Path, task: str = "") -> "Published":
        """Read conf/published/<name>.yaml.

        Args:
            task: key in `tasks`, which holds the fields that differ between tasks; "" where the file has none.

        Raises:
            MissingFileError: there is no such file.
            DataError: a field is missing, a column is unknown, a row is shorter or longer than the columns, or `ours`
                has a row that is not there or asks for what no result has.
            ConfigError: the file has no such task.
        """
        if not path.is_file():
            raise MissingFileError(
                f"no published table {path.stem!r}: {path} is missing; set report.published to another"
            )
        data: Any = _of_task(OmegaConf.to_container(OmegaConf.load(path)), task, path)
        missing = [name for name in ("source", "table", "columns", "rows") if name not in data]
        if missing:
            raise DataError(f"a published table needs source, table, columns and rows; {path} lacks {missing}")
        unknown = [name for name in data["columns"] if name not in _OURS]
        if unknown:
            raise DataError(f"columns of a published table must be of {', '.join(_OURS)}; {path} has {unknown}")
        rows = {
            str(name): tuple(math.nan if number is None else float(number) for number in numbers)
            for name, numbers in data["rows"].items()
        }
        uneven = [name for name, numbers in rows.items() if len(numbers) != len(data["columns"])]
        if uneven:
            raise DataError(f"every row must have one number per column; {path} has rows {uneven} of another length")
        labels = {
            str(label): {str(k): tuple(v) for k, v in own.items()} for label, own in data.get("labels", {}).items()
        }
        short = [label for label, own in labels.items() if any(len(numbers) != 4 for numbers in own.values())]
        if short:
            raise DataError(
                f"every row of a label must have precision, recall, F1 and AUROC; {path} lacks some of {short}"
            )
        head = (data["source"], data["table"], tuple(data["columns"]), rows, tuple(data.get("notes", ())))
        ours = data.get("ours", {})
        asked = {name for entries in ours.values() for entry in entries for name in entry}
        if not {*ours} <= {*rows} or not asked <= {*CRITERIA}:
            raise DataError(f"ours must be of the table's rows and ask for {', '.join(CRITERIA)}; {path} has others")
        return cls(*head, bool(data.get("last_epoch", False)), data.get("labels_table", ""), labels, ours)

    def has(self, names: Iterable[str]) -> bool:
        """Return whether one of `names` is among the rows, whatever the case."""
        return bool({name.casefold() for name in self.rows} & {name.casefold() for name in names})

    def placed(self, results: Sequence[ModelResult]) -> dict[str, str]:
        """Return group of our results -> its row; empty where none of ours is in the table."""
        return rows_of_ours(results, self.rows, self.ours)


def _of_task(data: Any, task: str, path: Path) -> Any:
    """Return the fields of one task's table."""
    tasks = data.get("tasks", {})
    if task not in (tasks or ("",)):
        known = ", ".join(f"{path.stem}:{name}" for name in tasks) or path.stem
        raise ConfigError(f"{path} has no table of task {task!r}; set report.published to {known}")
    return data | tasks[task] if tasks else data


Readings = Mapping[str, Mapping[str, ModelResult]]
"""Pipeline ("A" or "a", as in the paper) or any other name ("teacher", "TF-IDF") -> reading ("ours") -> result."""


def side_by_side(ours: Readings, published: Published) -> tuple[Table, str]:
    """Return the paper's numbers above ours, pipeline by pipeline, then our other results.

    Accuracy is by label, latency the median from text to decisions, compression that of parameters against our
    reference. The paper's speed-up refers to its first pipeline, and so does ours if that is among the results (else
    "–"); the last columns have our size, our latency where the paper has none, and our speed-up against the reference
    of the run. A mean over seeds is followed by its standard deviation.

    Args:
        ours: several readings of one pipeline (last epoch, best epoch) are listed below each other.
        published: the paper's table.

    Returns:
        The table for the terminal, and the same as Markdown.
    """
    header, lines = _header(published), _lines(ours, published)
    title, first = f"{published.table}, and ours", next(iter(published.rows))
    note = f"Source: {published.source}. Speed-up × refers to pipeline {first}, vs ref. × to the reference of our run."
    note += timing.explanation(result.latency for own in ours.values() for result in own.values())
    text = f"{title}\n\n{cells.grid(header, lines)}\n{note}\n\n" + "".join(f"- {line}\n" for line in published.notes)
    return text_table(title, "\n".join([note, *published.notes]), header, lines, padding=0), text


def _lines(every: Readings, published: Published) -> list[list[str]]:
    ours = {name.casefold(): own for name, own in every.items()}
    first = next(iter(ours.get(next(iter(published.rows)).casefold(), {}).values()), None)
    lines = []
    for name, numbers in published.rows.items():
        shown = [_shown(column, number) for column, number in zip(published.columns, numbers, strict=True)]
        lines.append([name, "paper", *shown, *(cells.NONE for _ in _costs(published)), cells.NONE])
        for reading, result in ours.get(name.casefold(), {}).items():
            lines.append([name, reading, *_numbers(result, first, published)])
    printed = {name.casefold() for name in published.rows}
    for name, own in every.items():
        if name.casefold() not in printed:
            lines += [[name, reading, *_numbers(result, first, published)] for reading, result in own.items()]
    return lines


def _numbers(result: ModelResult, first: ModelResult | None, published: Published) -> list[str]:
    shown = []
    for column in published.columns:
        deviation = result.deviations.get(column)
        spread = "" if deviation is None else f" ± {100 * deviation:.2f}"
        cell = _shown(column, _OURS[column][1](result, first)) + spread
        shown.append(timing.marked(cell, result.latency) if column in _TIMED else cell)
    costs = [cell(result) for cell in _costs(published).values()]
    return [*shown, *costs, timing.speedup_cell(result.latency)]


def _costs(published: Published) -> Mapping[str, Callable[[ModelResult], str]]:
    """Return the costs that a comparison of compressed models needs, and the paper's table lacks."""
    found: dict[str, Callable[[ModelResult], str]] = {}
    if "size_mb" not in published.columns:
        found["size\nMB"] = lambda result: cells.three(
            result.bytes / 1e6 if result.bytes else None
        )  # a labeler has none
    if "latency_ms" not in published.columns:
        found["p50\nms"] = lambda result: timing.p50_cell(result.latency)
    return found


def _shown(column: str, number: float | None) -> str:
    return cells.three(number) if column in _THREE_DIGITS else cells.two(number)


def _percent(result: ModelResult, metric: str) -> float | None:
    return 100 * result.quality[metric] if metric in result.quality else None


def _faster(result: ModelResult, first: ModelResult | None) -> float | None:
    return first.p50_ms / result.p50_ms if first and first.p50_ms and result.p50_ms else None


def _sooner(result: ModelResult) -> float | None:
    own, labeler = result.economics, result.labeler_economics
    return None if own is None or labeler is None else times_faster(own, labeler)


def _cheaper(result: ModelResult) -> float | None:
    """Return how many times cheaper than its labeler a model is; None where one of the two has no price."""
    own, labeler = result.economics, result.labeler_economics
    if own is None or labeler is None or not (own.currency and labeler.currency):
        return None
    return times_cheaper(own, labeler)


def mean_over_seeds(results: Sequence[ModelResult]) -> ModelResult:
    """Return the mean over seeds: of quality with its standard deviation (n - 1), and of p50 latency and speed-up."""
    first = results[0]
    if len(results) == 1:
        return first
    drawn = {metric: [result.quality[metric] for result in results] for metric in first.quality}
    quality = {metric: float(np.mean(values)) for metric, values in drawn.items()}
    deviations = {metric: float(np.std(values, ddof=1)) for metric, values in drawn.items()}
    time = first.latency
    if time is not None:
        times = [result.latency for result in results if result.latency is not None]
        p50, speedup = (float(np.mean([getattr(t, name) for t in times])) for name in ("p50_ms", "speedup"))
        inside = [t.network_p50_ms for t in times if t.network_p50_ms is not None]
        time = replace(time, p50_ms=p50, speedup=speedup, network_p50_ms=float(np.mean(inside)) if inside else None)
    return replace(first, quality=quality, deviations=deviations, latency=time, uncertainty=None)


def write_published(
    published: Published,
    results: Sequence[ModelResult],
    last: Mapping[str, ModelResult],
    notices: Sequence[str],
    folder: Path,
    conclusion: Sequence[str] = (),
) -> list[Table]:
    """Write published.md and, where the paper has labels, published_labels.md; return their tables for a terminal.

    Where the paper reports its last epoch, ours is listed above the epoch that was kept.

    Args:
        published: the paper's tables.
        last: name -> the result of the last epoch, of models that trained in epochs.
        notices: about ours: how labels were made, where keywords win.
        conclusion: sentences about ours; written above the tables.
    """
    readings: dict[str, list[ModelResult]] = {LAST: [], KEPT: [], DEPLOYED: []}
    readings[KEPT] = [result for result in results if not result.deployment]
    readings[DEPLOYED] = [result for result in results if result.deployment]
    if published.last_epoch:
        readings[LAST] = [last[result.name] for result in results if result.name in last]
    rows = published.placed(readings[KEPT])
    by_group: dict[str, dict[str, ModelResult]] = defaultdict(dict)
    for reading, own in readings.items():
        for group, seeds in _grouped(own).items():
            name = rows.get(group) or (f"pipeline {group}" if published.has([group]) else group)
            by_group[name][reading] = mean_over_seeds(seeds)
    table, markdown = side_by_side(by_group, published)
    ending = "\nOurs:\n\n" + "".join(f"- {line}\n" for line in (*_HOW, *notices))
    (folder / "published.md").write_text(conclusion_markdown(conclusion) + markdown + ending, encoding="utf-8")
    _write_lines(by_group, published, [*_HOW, *notices], folder)
    if not published.labels:
        return [table]
    labels = {KEPT: readings[KEPT]}
    if readings[LAST]:  # what did not train in epochs is the same in both
        labels = {LAST: [last.get(result.name, result) for result in readings[KEPT]]} | labels
    tables = [
        label_table(_grouped(own), f"{published.labels_table}, and ours: {reading}", published.labels)
        for reading, own in labels.items()
    ]
    (folder / "published_labels.md").write_text("\n".join(text for _, text in tables) + ending, encoding="utf-8")
    return [table, tables[0][0]]


def _write_lines(ours: Readings, published: Published, notes: Sequence[str], folder: Path) -> None:
    """Write published.json: the cells of the table, for pages that are made of it."""
    title, source = f"{published.table}, and ours", f"Source: {published.source}."
    content = {"title": title, "note": source, "header": _header(published), "lines": _lines(ours, published)}
    write_run_file(folder / PUBLISHED, content | {"notes": [*published.notes, *notes]})


def _header(published: Published) -> list[str]:
    columns = (_OURS[name][0] for name in published.columns)
    return ["pipeline", "", *columns, *_costs(published), "vs ref.\n×"]


def _grouped(results: Iterable[ModelResult]) -> dict[str, list[ModelResult]]:
    found: dict[str, list[ModelResult]] = defaultdict(list)
    for result in results:
        found[result.group or result.name].append(result)
    return dict(found)
