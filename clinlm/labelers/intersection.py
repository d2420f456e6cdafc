"""Spans of all labelers."""

from dataclasses import dataclass
from typing import final

from clinlm.labelers.votes import Vote


@final
@dataclass(frozen=True)
class Intersection(Vote):
    """Spans of every labeler; see `Vote` for `match`.

    Laws: the order of the labelers does not matter, nor does a duplicate. Strict: a further labeler adds no span, and a
    further span of a labeler removes none. Where labelers failed, it is empty if the others have nothing in common, and
    fails otherwise.
    """

    def quota(self, labelers: int) -> int:
        return labelers
