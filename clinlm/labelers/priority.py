"""Spans of the first labeler, and those of the next where it has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.terminology.spans import Span


@final
@dataclass(frozen=True)
class Priority(Combination):
    """All spans of the first labeler, then those of the second that do not overlap them, and so on.

    Laws: all spans of the first labeler are kept; a span is dropped only where it overlaps one of an earlier labeler; a
    duplicate of a labeler changes nothing. It fails where any labeler failed.
    """

    def merge(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        kept: list[Span] = []
        for spans in each:
            if spans is None:
                return None
            kept += [
                span for span in spans if all(span.end <= other.start or other.end <= span.start for other in kept)
            ]
        return sorted(kept)
