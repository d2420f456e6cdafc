"""How numbers look in a table: short, with their unit in the header, and "–" where there is none."""

import math
import re
from collections.abc import Sequence

NONE = "–"


def percent(share: float | None) -> str:
    """A share in [0, 1] as per cent with two decimals: 57.16."""
    return two(None if share is None else 100 * share)


def two(number: float | None) -> str:
    """Two decimals: 12.59."""
    return NONE if number is None or math.isnan(number) else f"{number:.2f}"


def percent_range(low: float, high: float) -> str:
    """Two shares as per cent: 53.1–60.9."""
    return NONE if math.isnan(low + high) else f"{100 * low:.1f}–{100 * high:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed: -1.24."""
    return NONE if math.isnan(difference) else f"{100 * difference:+.2f}"


def points_range(low: float, high: float) -> str:
    """The ends of a difference in percentage points: -3.1…+0.6."""
    return NONE if math.isnan(low + high) else f"{100 * low:+.1f}…{100 * high:+.1f}"


def three(number: float | None) -> str:
    """Three digits that count, never an exponent; at most three decimals: 0.012, 1.76, 12.6, 109."""
    if number is None or math.isnan(number):
        return NONE
    size = abs(number)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3
    return f"{number:.{decimals}f}"


def times(factor: float) -> str:
    """A factor: 1.76×."""
    return NONE if math.isnan(factor) else f"{three(factor)}×"


def three_range(low: float, high: float) -> str:
    """Two such numbers: 1.71–1.82."""
    return NONE if math.isnan(low + high) else f"{three(low)}–{three(high)}"


def spelled(metric: str) -> str:
    """The name of a metric in words: macro F1."""
    return metric.replace("_", " ").replace("f1", "F1").replace("auroc", "AUROC").replace("auprc", "AUPRC")


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: first column left, the others right; pipes, HTML and line ends in cells are made harmless."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(_plain(cell) for cell in line) + " |\n" for line in lines)


def _plain(cell: str) -> str:
    escaped = " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|")
    return re.sub("<(?=[A-Za-z/!])", "&lt;", escaped)  # no HTML; "< .001" stays
