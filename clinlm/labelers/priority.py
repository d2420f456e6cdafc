"""The first labeler's spans, and those of the next where it gives none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.terminology.spans import Span


@final
@dataclass(frozen=True)
class Priority(Combination):
    """All spans of the first labeler, then those of the second that share no character with them, and so on.

    Laws: the first labeler's spans are all there; a span is left out only where it shares a character with one of a
    labeler before; naming one's equal again changes nothing. It fails where any labeler failed.
    """

    def merged(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """See `Combination.merged`."""
        kept: list[Span] = []
        for spans in each:
            if spans is None:
                return None
            kept += [one for one in spans if all(one.end <= other.start or other.end <= one.start for other in kept)]
        return sorted(kept)

    def settings(self) -> Sequence[str]:
        """See `Combination.settings`."""
        return ()
