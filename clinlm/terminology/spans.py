"""Spans: labelled ranges of characters of a text."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from clinlm.config.errors import DataError


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text, and the label of the entity that they name."""

    start: int
    end: int
    label: str


def flatten(spans: Iterable[Span]) -> list[Span]:
    """Return spans of which no two share a character, in order.

    Spans are kept by length, then start, then label; a span that overlaps a kept span is dropped. So of nested entities
    the outermost stays.
    """
    kept: list[Span] = []  # in order, so that only the two neighbours of a span can overlap it
    for span in sorted(set(spans), key=lambda span: (span.start - span.end, span)):
        place = bisect_left(kept, (span.start,))
        before, after = kept[place - 1 : place], kept[place : place + 1]
        if all(other.end <= span.start for other in before) and all(span.end <= other.start for other in after):
            kept.insert(place, span)
    return sorted(kept)


def check_spans(spans: Iterable[Span], length: int) -> list[Span]:
    """Return the spans, sorted, each once.

    Args:
        length: of the text, in characters.

    Raises:
        DataError: a span is empty or leaves the text.
    """
    found = sorted(set(spans))
    for span in found:
        if not 0 <= span.start < span.end <= length:
            raise DataError(
                f"a span must hold at least one character of its text, got {span.start} to {span.end} in a text of "
                f"{length} characters"
            )
    return found
