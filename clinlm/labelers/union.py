"""What any labeler gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.terminology.spans import Span, flat


@final
@dataclass(frozen=True)
class Union(Combination):
    """All spans of all labelers, made flat: of those that share a character the longest stays
    (`clinlm.terminology.spans.flat`).

    Laws: the order of the labelers does not matter, nor does naming one's equal; every span is one that a labeler gave,
    and every span that a labeler gave shares a character with one of these. It fails where any labeler failed.
    """

    def merged(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """See `Combination.merged`."""
        there = [spans for spans in each if spans is not None]
        return flat(span for spans in there for span in spans) if len(there) == len(each) else None

    def settings(self) -> Sequence[str]:
        """See `Combination.settings`."""
        return ()
