"""The table of all models: cells with what they are sorted by, and intervals as bars."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells, timing
from clinlm.report.html.words import kind_of, signed, signed_range
from clinlm.report.pareto import command
from clinlm.report.results import ModelResult
from clinlm.report.tables import dominated
from clinlm.report.verdicts import verdict_cell

_DELTA = "points against the original, paired, with the 95 % interval; a line marks 0, a dashed one the margin"
_DOMINATED = "a row as small, as fast and as good in all, and better in one"


@final
@dataclass(frozen=True)
class Bar:
    """An interval, in per cent of the width of its cell.

    Attributes:
        zero: place of no difference; None where the cell is no difference.
        margin: place of the margin; None for none.
        tone: "good", "bad" or "" where the interval excludes 0 or not.
    """

    left: float
    width: float
    value: float
    zero: float | None = None
    margin: float | None = None
    tone: str = ""


@final
@dataclass(frozen=True)
class Cell:
    """A cell: its text, what stands small below it, and the number or word that it is sorted by; None is last."""

    text: str
    below: str = ""
    sort: float | str | None = None
    bar: Bar | None = None
    tone: str = ""


@final
@dataclass(frozen=True)
class TableColumn:
    """A column.

    Attributes:
        key: distinct in the table.
        hint: what it means.
        number: whether it is aligned to the right, and sorted with the largest first.
    """

    key: str
    title: str
    hint: str
    number: bool = True


@final
@dataclass(frozen=True)
class ModelRow:
    """A row.

    Attributes:
        number: of the model in the page.
        kind: see `clinlm.report.html.words.kind_of`.
        words: that a filter looks in: name, pipeline, techniques, settings, engine.
    """

    number: int
    name: str
    kind: str
    tags: tuple[str, ...]
    cells: tuple[Cell, ...]
    command: str
    words: str
    verdict: str
    dominated: bool
    chosen: bool


@final
@dataclass(frozen=True)
class ModelsTable:
    """Columns and rows; `metrics` names the metrics of quality that have a column."""

    columns: tuple[TableColumn, ...]
    rows: tuple[ModelRow, ...]
    metrics: tuple[str, ...]


def models_table(results: Sequence[ModelResult], metric: str, about: str) -> ModelsTable:
    """Return the table.

    Args:
        metric: that training monitored: it has the first column of quality.
        about: name of the model that the answer is about.
    """
    metrics = shown_metrics(results, metric)
    margin = next((own.non_inferiority for own in results if own.non_inferiority is not None), None)
    compared = margin.metric if margin else metrics[0] if metrics else metric
    columns = [
        *(TableColumn(name, f"{cells.spelled(name)} %", "with its 95 % interval") for name in metrics),
        TableColumn("delta", f"Δ {cells.spelled(compared)}", _DELTA),
        TableColumn("verdict", "verdict", "non-inferior, undecided or inferior by the margin", number=False),
        TableColumn("mb", "MB", "10⁶ bytes of what is deployed; below it bytes of the original / own"),
        TableColumn("ms", "ms", "median from a note's text to its decisions; below it time of the original / own"),
        TableColumn("gates", "gates", "gates passed, of all"),
        TableColumn("dominated", "dominated by", _DOMINATED, number=False),
    ]  # fmt: skip
    quality = {name: scale_ends([own.intervals.get(name) for own in results]) for name in metrics}
    changes = [own.differences.get(compared) for own in results]
    limits = scale_ends([*changes, Interval(0.0, -(margin.margin if margin else 0.0), 0.0)])
    rows = []
    for number, (own, change) in enumerate(zip(results, changes, strict=True)):
        shown = [_quality(own, name, quality[name]) for name in metrics]
        shown += [_difference(change, limits, margin.margin if margin else None), *_costs(own)]
        rows.append(_row(number, own, tuple(shown), about))
    return ModelsTable(tuple(columns), tuple(rows), tuple(metrics))


def shown_metrics(results: Sequence[ModelResult], metric: str) -> list[str]:
    """Return the metrics that have a column and a plot: what was monitored, what the margin is of, and macro AUROC."""
    margins = [own.non_inferiority.metric for own in results if own.non_inferiority is not None]
    wanted = dict.fromkeys([metric, *margins, "micro_f1", "macro_f1", "macro_auroc"])
    return [name for name in wanted if any(name in own.quality for own in results)]


def _row(number: int, own: ModelResult, shown: tuple[Cell, ...], about: str) -> ModelRow:
    techniques = [name.replace("_", " ") for name in own.lineage.techniques]
    tags = dict.fromkeys([*techniques, *([own.engine] if own.deployment else [])])
    judged = own.non_inferiority
    words = " ".join([own.name, kind_of(own), own.lineage.pipeline, own.engine, *tags, *own.lineage.overrides])
    return ModelRow(
        number, own.name, kind_of(own), tuple(tags), shown, command(own), words.casefold(),
        judged.verdict if judged is not None else "", bool(own.dominated_by), own.name == about,
    )  # fmt: skip


def _quality(own: ModelResult, metric: str, ends: tuple[float, float]) -> Cell:
    value, interval = own.quality.get(metric), own.intervals.get(metric)
    if value is None or math.isnan(value):
        return Cell(cells.NONE)
    below = cells.percent_range(interval.low, interval.high) if interval else ""
    return Cell(cells.percent(value), below, value, bar_of(interval, value, ends))


def _difference(change: Interval | None, ends: tuple[float, float], margin: float | None) -> Cell:
    if change is None or math.isnan(change.value):
        return Cell(cells.NONE)
    tone = "" if not change.significant else "good" if change.value > 0 else "bad"
    bar = bar_of(change, change.value, ends, zero=True, margin=margin, tone=tone)
    return Cell(signed(change.value), signed_range(change), change.value, bar)


def _costs(own: ModelResult) -> list[Cell]:
    latency, passed = own.latency, sum(gate.passed for gate in own.gates)
    verdict = verdict_cell(own)
    tone = (
        {"non-inferior": "good", "inferior": "bad"}.get(own.non_inferiority.verdict, "") if own.non_inferiority else ""
    )
    same = own.name == own.reference
    smaller = "" if same or not own.bytes else f"{cells.times(own.compression_bytes)} smaller"
    faster = "" if same or latency is None else f"{timing.marked(cells.times(latency.speedup), latency)} as fast"
    kept = ", ".join(gate.gate for gate in own.gates if gate.passed)
    return [
        Cell(verdict or cells.NONE, sort=verdict or None, tone=tone),
        Cell(cells.three(own.bytes / 1e6 if own.bytes else None), smaller, own.bytes or None),
        Cell(timing.p50_cell(latency), faster, own.p50_ms),
        Cell(f"{passed} of {len(own.gates)}", kept, passed) if own.gates else Cell(cells.NONE),
        Cell(dominated(own.dominated_by), sort=own.dominated_by[0] if own.dominated_by else None),
    ]  # fmt: skip


def scale_ends(drawn: Sequence[Interval | None]) -> tuple[float, float]:
    """Return the ends of the scale of a column, with some room."""
    known = [end for own in drawn if own is not None for end in (own.low, own.high) if math.isfinite(end)]
    if not known:
        return 0.0, 1.0
    room = 0.06 * (max(known) - min(known)) or 0.01
    return min(known) - room, max(known) + room


def bar_of(
    interval: Interval | None,
    value: float,
    ends: tuple[float, float],
    zero: bool = False,
    margin: float | None = None,
    tone: str = "",
) -> Bar | None:
    """Return an interval as a bar between the ends of a scale; None without an interval.

    Args:
        zero: whether the place of 0 is marked, and that of -`margin` where there is one.
    """
    if interval is None or math.isnan(interval.low + interval.high):
        return None
    left, right, middle = (place(end, ends) for end in (interval.low, interval.high, value))
    return Bar(
        left, round(right - left, 1), middle, place(0.0, ends) if zero else None,
        place(-margin, ends) if zero and margin is not None else None, tone,
    )  # fmt: skip


def place(value: float, ends: tuple[float, float]) -> float:
    """Return where a value stands between the ends of a scale, in per cent."""
    return round(100 * min(max((value - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0), 1)
