"""Entities of a text: where they stand, and what they are."""

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text, and the label of what they name."""

    start: int
    end: int
    label: str


def flat(spans: Iterable[Span]) -> list[Span]:
    """Return spans of which no two share a character, in order.

    The longest comes first, of equally long ones the one that begins first, then the one whose label sorts first; one
    that shares a character with one kept is dropped. So of nested entities the outermost stays.
    """
    kept: list[Span] = []
    for one in sorted(set(spans), key=lambda span: (span.start - span.end, span)):
        if all(one.end <= other.start or other.end <= one.start for other in kept):
            kept.append(one)
    return sorted(kept)


def checked(spans: Iterable[Span], length: int) -> list[Span]:
    """Return the spans, sorted, each once.

    Args:
        spans: of one text.
        length: of the text, in characters.

    Raises:
        ValueError: one is empty or leaves the text.
    """
    found = sorted(set(spans))
    for one in found:
        if not 0 <= one.start < one.end <= length:
            raise ValueError(
                f"a span is at least one character inside its text; {one.start} to {one.end} came for a text of "
                f"{length} characters"
            )
    return found
