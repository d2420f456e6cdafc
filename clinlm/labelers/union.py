"""Spans of any labeler."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.terminology.spans import Span, flatten


@final
@dataclass(frozen=True)
class Union(Combination):
    """All spans of all labelers; of overlapping spans the longest stays (`clinlm.terminology.spans.flatten`).

    Laws: the order of the labelers does not matter, nor does a duplicate; every span is one of a labeler, and every
    span of a labeler overlaps one of these. It fails where any labeler failed.
    """

    def merge(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        answered = [spans for spans in each if spans is not None]
        return flatten(span for spans in answered for span in spans) if len(answered) == len(each) else None
