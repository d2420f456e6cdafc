"""How many labelers give a span, and which spans enough of them give."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

from clinlm.terminology.spans import Span, flat

Match = Literal["strict", "relaxed"]
"""When two labelers give the same: start, end and label agree; or the label agrees and they share a character."""


def check_match(match: str) -> None:
    """Raise unless `match` is one.

    Raises:
        ValueError: it is none.
    """
    if match not in get_args(Match):
        raise ValueError(f"match is {' or '.join(get_args(Match))}; got {match!r}")


def agreed(each: Sequence[Sequence[Span] | None], quota: int, match: Match) -> list[Span] | None:
    """Return the spans that at least `quota` labelers give, made flat; None where those that failed could change them.

    Strict counts, for every span, the labelers that give it. Relaxed counts those that give one of its label that
    shares a character with it; of several such spans that share characters, `flat` keeps the longest. So no span is
    returned that nobody gave.

    Args:
        each: the flat, sorted spans of every labeler; None for one that failed.
        quota: from 1 to their number.
        match: which votes are for the same.
    """
    there = [spans for spans in each if spans is not None]
    failed = len(each) - len(there)
    votes = _strict(there) if match == "strict" else _relaxed(there)
    if failed and (failed >= quota or _open(there, votes, quota, failed, match)):
        return None
    return flat(span for span, count in votes.items() if count >= quota)


def _strict(there: Sequence[Sequence[Span]]) -> Counter[Span]:
    return Counter(span for spans in there for span in set(spans))


def _relaxed(there: Sequence[Sequence[Span]]) -> Counter[Span]:
    sorted_by_label = [_by_label(spans) for spans in there]
    votes = Counter[Span]()
    for span in {span for spans in there for span in spans}:
        votes[span] = sum(_touches(own.get(span.label, ()), span) for own in sorted_by_label)
    return votes


def _by_label(spans: Sequence[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.label, []).append(span)
    return found


def _touches(spans: Sequence[Span], wanted: Span) -> bool:
    """Whether one of `spans`, of which no two share a character, shares one with `wanted`."""
    first = bisect_right(spans, wanted.start, key=lambda span: span.end)
    return first < len(spans) and spans[first].start < wanted.end


def _open(there: Sequence[Sequence[Span]], votes: Counter[Span], quota: int, failed: int, match: Match) -> bool:
    """Whether `failed` more answers could change the result, given that they cannot decide alone.

    Strict: a span lacks no more votes than they have. Relaxed: together with those that give some span of a label they
    are enough; theirs could touch all of these and be longer.
    """
    if match == "strict":
        return any(count < quota <= count + failed for count in votes.values())
    labels = Counter(label for spans in there for label in {span.label for span in spans})
    return any(count + failed >= quota for count in labels.values())
