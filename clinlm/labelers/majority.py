"""Spans of more than half of the labelers."""

from dataclasses import dataclass
from typing import final

from clinlm.labelers.votes import Vote


@final
@dataclass(frozen=True)
class Majority(Vote):
    """Spans of more than half of the labelers; see `Vote` for `match`. Of two labelers both must agree.

    The vote is on whole spans, not on characters: no span is kept that no labeler gave. There are no ties: overlapping
    spans cannot both be strictly given by more than half, since each labeler gives at most one of them.

    Laws: the order of the labelers does not matter; it contains the `Intersection` (strict); of two labelers it is the
    intersection. Where labelers failed, it answers if their votes could change nothing, and fails otherwise.
    """

    def quota(self, labelers: int) -> int:
        return labelers // 2 + 1
