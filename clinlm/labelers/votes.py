"""Spans on which enough labelers agree."""

from abc import abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

from clinlm.config.errors import ConfigError
from clinlm.labelers.combination import Combination
from clinlm.terminology.spans import Span, flatten

Match = Literal["strict", "relaxed"]
"""When two labelers agree: on start, end and label; or on the label of overlapping spans."""


@dataclass(frozen=True)
class Vote(Combination):
    """Spans with at least `quota` votes. Subclasses are final.

    Attributes:
        match: strict: a labeler votes for its own spans. relaxed: also for spans of the same label that overlap one of
            its own; of several such spans that overlap, the longest is kept (`clinlm.terminology.spans.flatten`).
    """

    match: Match = "strict"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.match not in get_args(Match):
            raise ConfigError(f"match must be {' or '.join(get_args(Match))}, got {self.match!r}")

    @abstractmethod
    def quota(self, labelers: int) -> int:
        """Return the number of votes that a span of so many labelers needs."""

    @final
    def merge(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        quota = self.quota(len(each))
        answered = [spans for spans in each if spans is not None]
        failed = len(each) - len(answered)
        votes = _strict_votes(answered) if self.match == "strict" else _relaxed_votes(answered)
        if failed and (failed >= quota or _is_open(answered, votes, quota, failed, self.match)):
            return None
        return flatten(span for span, count in votes.items() if count >= quota)

    @final
    def settings(self) -> Sequence[str]:
        return (self.match,)


def _strict_votes(answered: Sequence[Sequence[Span]]) -> Counter[Span]:
    return Counter(span for spans in answered for span in set(spans))


def _relaxed_votes(answered: Sequence[Sequence[Span]]) -> Counter[Span]:
    sorted_by_label = [_by_label(spans) for spans in answered]
    votes = Counter[Span]()
    for span in {span for spans in answered for span in spans}:
        votes[span] = sum(_overlaps_any(by_label.get(span.label, ()), span) for by_label in sorted_by_label)
    return votes


def _by_label(spans: Sequence[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.label, []).append(span)
    return found


def _overlaps_any(spans: Sequence[Span], wanted: Span) -> bool:
    """Return whether one of `spans`, which do not overlap each other, overlaps `wanted`."""
    first = bisect_right(spans, wanted.start, key=lambda span: span.end)
    return first < len(spans) and spans[first].start < wanted.end


def _is_open(answered: Sequence[Sequence[Span]], votes: Counter[Span], quota: int, failed: int, match: Match) -> bool:
    """Return whether the answers of `failed` more labelers, fewer than the quota, could change the result.

    Strict: a span lacks no more votes than they have. Relaxed: together with those that gave any span of a label they
    reach the quota; their spans could overlap all of these and be longer.
    """
    if match == "strict":
        return any(count < quota <= count + failed for count in votes.values())
    labels = Counter(label for spans in answered for label in {span.label for span in spans})
    return any(count + failed >= quota for count in labels.values())
