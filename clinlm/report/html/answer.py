"""The question that a report answers, and the answer in two sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from clinlm.metrics.bootstrap import Interval
from clinlm.report import cells
from clinlm.report.conclusion import conclude, listed
from clinlm.report.html.words import kind_of, known_or, signed_range
from clinlm.report.results import ModelResult

Tone = Literal["yes", "open", "no"]


@final
@dataclass(frozen=True)
class Answer:
    """What stands on top of the page.

    Attributes:
        tone: whether a compressed model may replace the original, is not shown to, or a baseline should be used.
        sentences: two at most.
        about: name of the model that the figures below are of: the answer's, or the subject of the comparison.
    """

    question: str
    tone: Tone
    sentences: tuple[str, ...]
    about: str


def answer(results: Sequence[ModelResult], subject: str, metric: str, split: str) -> Answer:
    """Return the answer, by the rules of `clinlm.report.conclusion` in their order: the floor of TF-IDF comes first.

    Args:
        subject: name of the result that the comparison is about: the last model, or the best on validation.
        metric: that training monitored.
    """
    by_name = {own.name: own for own in results}
    own = by_name[subject]
    found = conclude(results, subject, metric)
    compressed = [row for row in results if kind_of(row) == "compressed" and row.quality]
    reference = by_name.get(own.reference, own)
    claims = [row for row in compressed if row.non_inferiority is not None and row.non_inferiority.claimed]
    if not compressed or reference is own:
        return Answer(
            f"How good is {own.name}?", "open", (_alone(own, metric, split), found.floor or found.next), subject
        )
    several = len(claims or compressed) > 1
    question = f"Which model may replace {reference.name}?" if several else f"May {own.name} replace {reference.name}?"
    passing = [
        row for row in claims if row.non_inferiority is not None and row.non_inferiority.verdict == "non-inferior"
    ]
    if found.use:
        return Answer(question, "no", (_instead(by_name[found.use], own, metric), _rest(passing, claims)), found.use)
    if not passing:
        return Answer(question, "open", (_none(claims, compressed, own), found.next), subject)
    best = own if own in passing else max(passing, key=lambda row: known_or(row.validation.get(metric), -1.0))
    return Answer(question, "yes", (_may(passing, best, by_name), _caveat(best) or found.next), best.name)


def _may(passing: Sequence[ModelResult], best: ModelResult, by_name: dict[str, ModelResult]) -> str:
    verdict = best.non_inferiority
    assert verdict is not None
    who = listed([row.name for row in passing])
    which = f"{best.name}, the best of them on validation," if len(passing) > 1 else "it"
    change = _change(verdict.difference, verdict.metric, verdict.margin)
    return f"{who} may replace {best.reference}: {which} {change}{_cheaper(best)}."


def _none(claims: Sequence[ModelResult], compressed: Sequence[ModelResult], own: ModelResult) -> str:
    verdict = own.non_inferiority
    if verdict is None:
        return f"Not decided: no margin was fixed{_after(own)}."
    if len(claims) > 1:
        lost = sum(row.non_inferiority is not None and row.non_inferiority.verdict == "inferior" for row in claims)
        shown = f", and {lost} lose more than the margin" * bool(lost)
        head = f"None of the {len(claims)} compressed models is shown to be as good as {own.reference}{shown}"
    else:
        word = "loses more than the margin" if verdict.verdict == "inferior" else "may lose more than the margin"
        head = f"Not shown: {own.name} {word}"
    return f"{head}: {own.name} {_change(verdict.difference, verdict.metric, verdict.margin)}{_cheaper(own)}."


def _instead(use: ModelResult, own: ModelResult, metric: str) -> str:
    """Return that a baseline is to be used, with both scores and costs."""
    score, other = (f"{cells.percent(row.quality.get(metric))} %" for row in (use, own))
    scores = f"{score} {cells.spelled(metric)} against {other} of {own.name}"
    return f"Use {use.name} instead: {scores}, at {_costs(use)} against {_costs(own)}."


def _rest(passing: Sequence[ModelResult], claims: Sequence[ModelResult]) -> str:
    if not claims:
        return ""
    if passing:
        names = listed([row.name for row in passing])
        return f"Against {passing[0].reference} alone, {names} would do: non-inferior by the margin."
    return f"Of {len(claims)} compressed models none is shown to be as good as {claims[0].reference}."


def _alone(own: ModelResult, metric: str, split: str) -> str:
    interval = own.intervals.get(metric)
    spread = f" (95 % interval {cells.percent_range(interval.low, interval.high)})" if interval else ""
    return f"{own.name} has {cells.percent(own.quality.get(metric))} % {cells.spelled(metric)} on {split}{spread}."


def _after(own: ModelResult) -> str:
    change = own.differences.get("micro_f1")
    return f"; {own.name} {_change(change, 'micro_f1')}" if change is not None else ""


def _change(change: Interval, metric: str, margin: float | None = None) -> str:
    """Return a difference in words: loses 0.27 points of micro F1 (95 % interval −1.4…+1.0; margin 2)."""
    if math.isnan(change.value):
        return f"has an undefined difference in {cells.spelled(metric)}"
    limit = "" if margin is None else f"; margin {100 * margin:g}"
    size = f"{abs(100 * change.value):.2f}"
    verb = "is equal in" if size == "0.00" else f"{'gains' if change.value > 0 else 'loses'} {size} points of"
    return f"{verb} {cells.spelled(metric)} (95 % interval {signed_range(change)}{limit})"


def _cheaper(own: ModelResult) -> str:
    """Return how much smaller and faster it is than its reference; "" where neither is known."""
    parts = []
    if math.isfinite(own.compression_bytes) and own.compression_bytes != 1:
        parts.append(f"{cells.three(own.compression_bytes)} times smaller")
    if own.latency is not None and math.isfinite(own.latency.speedup):
        doubt = " (measured under load)" if own.latency.disturbed else ""
        parts.append(f"{cells.three(own.latency.speedup)} times as fast{doubt}")
    return f"; it is {' and '.join(parts)}" if parts else ""


def _costs(own: ModelResult) -> str:
    time = "" if own.p50_ms is None else f" and {cells.three(own.p50_ms)} ms a note"
    return f"{cells.three(own.bytes / 1e6)} MB{time}"


def _caveat(own: ModelResult) -> str:
    caveat = own.non_inferiority.caveat if own.non_inferiority is not None else ""
    return f"This confirms nothing yet: {caveat}." if caveat else ""
