"""The end of a run or sweep on one screen: the table, the verdict, the paths and the next command."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Final, final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clinlm.report import cells, timing
from clinlm.report.baselines import BASELINES
from clinlm.report.cells import spelled
from clinlm.report.conclusion import conclude
from clinlm.report.results import ModelResult

SCREEN: Final = (80, 30)
"""Columns and rows that the end of a run fits."""

_WIDTHS = 54
"""Columns of the numbers of the table; the rest is for names."""
_AROUND = 8
"""Lines around the rows of the table: title, header, rule, caption, rows left out, and the prompt of the shell."""
_NAME = 24
"""Columns of a name in the verdict."""
_MOST = (8, 6, 4, 2)
"""Lines of the verdict, at most: fewer where the table needs them."""
_ROWS = 15
"""Rows of a table for which the verdict leaves room; a longer one is cut anyway."""
_FEWEST = 5
"""Rows of the table that are printed however little room is left."""


@final
@dataclass(frozen=True)
class Ending:
    """What the end of a run or sweep prints.

    Attributes:
        results: of the comparison, in order.
        subject: name of the result that the verdict is about.
        metric: that training monitored, such as macro_f1.
        lines: below the verdict, each with its heading: paths, the next command.
    """

    title: str
    results: Sequence[ModelResult]
    subject: str
    metric: str
    lines: Sequence[str]

    def print(self, console: Console) -> None:
        """Print table, verdict and lines on one screen of `console`."""
        width = console.width
        for most in _MOST:  # rather fewer sentences than fewer rows
            below = [*verdict(self.results, self.subject, self.metric, width, most), *self.lines]
            height = sum(max(1, math.ceil(len(line) / width)) for line in below)
            room = SCREEN[1] - height - _AROUND
            if room >= (len(self.results) if len(self.results) <= _ROWS else _FEWEST):
                break
        shown = selected_results(self.results, self.subject, self.metric, max(_FEWEST, room))
        console.print(results_table(shown, self.title, self.metric, width))
        if len(shown) < len(self.results):
            console.print(f"{len(self.results) - len(shown)} more rows in the report", style="dim")
        for line in below:
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def selected_results(results: Sequence[ModelResult], subject: str, metric: str, rows: int) -> list[ModelResult]:
    """Return `rows` results at most, in order: subject, its reference, both TF-IDF, then the best on validation."""
    by_name = {result.name: result for result in results}
    wanted = [by_name[subject], by_name[by_name[subject].reference]]
    wanted += [by_name[name] for name in BASELINES if name in by_name]
    wanted += sorted(results, key=lambda result: -_number(result.validation.get(metric)))
    kept = list(dict.fromkeys(result.name for result in wanted))[:rows]
    return [result for result in results if result.name in kept]


def results_table(results: Sequence[ModelResult], title: str, metric: str, width: int = SCREEN[0]) -> Table:
    """Return the table: a line for every result, at most `width` columns."""
    name = spelled(metric)
    header = ("", f"{name} % (95 %)", "Δ", "p50 ms", "speed ×", "MB", "size ×")
    disturbed = any(result.latency is not None and result.latency.disturbed for result in results)
    last = f"{timing.MARK} machine busy" if disturbed else "MB = 10⁶ bytes"
    caption = f"Δ (points) and × against {_reference(results)}; * excludes 0; {last}"
    shown = Table(
        title=Text(title, style="bold"), caption=Text(caption), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
        padding=(0, 1, 0, 0), title_justify="left", caption_justify="left",
    )  # fmt: skip
    for place, heading in enumerate(header):
        shown.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for result in results:
        value, interval = result.quality.get(metric), result.intervals.get(metric)
        change, latency = result.differences.get(metric), result.latency
        ends = cells.percent_range(interval.low, interval.high) if interval else ""
        shown.add_row(
            Text(shortened(result.name, width - _WIDTHS)),
            f"{cells.percent(value)} ({ends})" if ends else cells.percent(value),
            cells.NONE if change is None else cells.points(change.value) + "*" * change.significant,
            timing.p50_cell(latency),
            timing.speedup_cell(latency),
            cells.three(result.bytes / 1e6) if result.bytes else cells.NONE,
            cells.three(result.compression_bytes),
        )
    return shown


def verdict(
    results: Sequence[ModelResult], subject: str, metric: str, width: int = SCREEN[0], most: int = 8
) -> list[str]:
    """Return the conclusion in lines of `width` columns, with short names.

    Where they would be more than `most`, the report alone says what dominates, and what to try next.
    """
    found = conclude(results, subject, metric)
    kept = [found.sentences, [found.floor, found.verdict, found.next], [found.floor, found.verdict], [found.verdict]]
    for sentences in kept:
        lines = [line for text in sentences for line in wrap(_short(text, results), width - 11, break_on_hyphens=False)]
        if len(lines) <= most:
            break
    return [f"{'' if place else 'verdict':11}{line}" for place, line in enumerate(lines)]


def _short(text: str, results: Sequence[ModelResult]) -> str:
    """Return `text` with short names of results."""
    for own in sorted(results, key=lambda result: -len(result.name)):
        text = text.replace(own.name, shortened(own.name, _NAME))
    return text


def shortened(name: str, width: int) -> str:
    """Return `name` in at most `width` columns, without its middle: its end says setting, seed or engine."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def shown_path(path: Path) -> str:
    """Return a path as it is typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def text_table(title: str, note: str, header: Sequence[str], lines: Sequence[Sequence[str]], padding: int = 1) -> Table:
    """Return cells of Markdown as a table for a terminal: `**…**` is bold, the line of a paper is dim.

    Args:
        header: of the columns; the first two are names.
        lines: cells.
        padding: columns between two cells.
    """
    made = Table(
        title=Text(title), caption=Text(note), caption_justify="left", box=box.SIMPLE_HEAD, show_edge=False,
        pad_edge=False, padding=(0, padding, 0, 0),
    )  # fmt: skip
    for place, name in enumerate(header):
        made.add_column(name, justify="right" if place > 1 else "left", overflow="fold")
    for line in lines:
        shown = (Text(cell.replace("**", ""), style="bold" if cell.startswith("**") else "") for cell in line)
        made.add_row(*shown, style="dim" if line[1] == "paper" else "")
    return made


def _number(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value


def _reference(results: Sequence[ModelResult]) -> str:
    without = [result.name for result in results if result.quality and not result.differences]
    return without[0] if len(without) == 1 else "the teacher of the same seed"
