"""Words and signs of the page."""

import math
import re
from typing import Literal

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells
from clinlm.report.results import COMBINED, ModelResult
from clinlm.report.verdicts import is_compressed

ModelKind = Literal["original", "baseline", "compressed", "trained", "ensemble"]


def kind_of(result: ModelResult) -> ModelKind:
    """Return what a row is: a baseline, several models, what others are compared with, or a model made smaller."""
    if result.kind == "baseline":
        return "baseline"
    if result.kind in COMBINED:
        return "ensemble"
    if is_compressed(result):
        return "compressed"
    return "original" if result.name == result.reference else "trained"


def minus(text: str) -> str:
    """Return numbers with the minus sign that is as wide as a plus; hyphens in words and dates stay."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def signed(share: float | None) -> str:
    """Return a difference of shares in points: −1.24."""
    return cells.NONE if share is None or math.isnan(share) else minus(cells.points(share))


def signed_range(interval: Interval) -> str:
    """Return the ends of a difference in points: −3.1…+0.6."""
    return minus(cells.points_range(interval.low, interval.high))


def known_or(value: float | None, other: float) -> float:
    """Return a value; `other` where it is not there or undefined."""
    return other if value is None or math.isnan(value) else value
