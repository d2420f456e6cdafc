"""What all labelers give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.labelers.votes import Match, agreed, check_match
from clinlm.terminology.spans import Span


@final
@dataclass(frozen=True)
class Intersection(Combination):
    """The spans that every labeler gives.

    Laws: the order of the labelers does not matter, nor does naming one's equal. Strict: a further labeler adds no
    span, and a further span of a labeler removes none. Where labelers failed, it is empty if the others leave nothing
    to agree on, and fails else.

    Attributes:
        match: strict: start, end and label are the same. relaxed: spans that share a label and a character agree; kept
            are those of any labeler that agree with one of every other, and of these that share characters the longest
            (`clinlm.terminology.spans.flat`).
    """

    match: Match = "strict"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_match(self.match)

    def merged(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """See `Combination.merged`."""
        return agreed(each, len(each), self.match)

    def settings(self) -> Sequence[str]:
        """See `Combination.settings`."""
        return (self.match,)
