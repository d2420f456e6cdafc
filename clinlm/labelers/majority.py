"""What more than half of the labelers give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from clinlm.labelers.combination import Combination
from clinlm.labelers.votes import Match, agreed, check_match
from clinlm.terminology.spans import Span


@final
@dataclass(frozen=True)
class Majority(Combination):
    """The spans that more than half of the labelers give; half of them are not enough, so two must agree.

    Whole spans are voted on, not characters: nothing is kept that nobody gave. There are no ties to break: two spans
    that share a character cannot both be strictly given by more than half, for each labeler gives one of them at most.

    Laws: the order of the labelers does not matter; all that `Intersection` keeps is kept (strict); two labelers are
    intersected. Where labelers failed, it answers if their votes could change nothing, and fails else.

    Attributes:
        match: strict: start, end and label are the same. relaxed: spans that share a label and a character agree; kept
            are those that agree with one of each of more than half of the labelers, their own counted, and of these
            that share characters the longest (`clinlm.terminology.spans.flat`).
    """

    match: Match = "strict"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_match(self.match)

    def merged(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """See `Combination.merged`."""
        return agreed(each, len(each) // 2 + 1, self.match)

    def settings(self) -> Sequence[str]:
        """See `Combination.settings`."""
        return (self.match,)
