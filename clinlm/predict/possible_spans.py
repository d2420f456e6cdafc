"""Which spans of a note are sure, and where others are possible, at one coverage."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Self, final

import numpy as np
from jaxtyping import Bool

from clinlm.metrics.prediction_sets import PredictionSets
from clinlm.terminology.spans import Span
from clinlm.text.tags import Tags
from clinlm.text.words import Words


@final
@dataclass(frozen=True)
class PossibleSpans:
    """What is said of the spans of some notes besides those found.

    Attributes:
        sure: of every span of every note; see `sure_spans`.
        possible: of every note, where further spans may be; see `further_spans`.
        abstained: of every note: some word has not exactly one possible tag.
    """

    sure: Sequence[Sequence[bool]]
    possible: Sequence[Sequence[Span]]
    abstained: Bool[np.ndarray, " documents"]

    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        """Return what is said of the chosen notes."""
        return type(self)([*compress(self.sure, chosen)], [*compress(self.possible, chosen)], self.abstained[chosen])


def sure_spans(spans: Sequence[Span], sets: PredictionSets, words: Words, tags: Tags) -> list[bool]:
    """Return of every span of a note whether it is sure.

    Each of its words has exactly one possible tag, and no word beside it can make it longer.
    """
    single = sets.possible.sum(axis=1) == 1
    found = []
    for span in spans:
        first = int(np.searchsorted(words[:, 0], span.start))
        last = int(np.searchsorted(words[:, 1], span.end)) + 1
        begin = 2 * tags.labels.index(span.label) + 1
        after = last < len(words) and sets.possible[last, begin + 1]
        before = first > 0 and not sets.possible[first, begin] and sets.possible[first - 1, begin : begin + 2].any()
        found.append(bool(single[first:last].all() and not after and not before))
    return found


def further_spans(sure: Sequence[Span], sets: PredictionSets, words: Words, tags: Tags) -> list[Span]:
    """Return where spans of a note may be that are not sure: runs of words that may all belong to one label.

    Every span whose tags are all possible lies within a sure span or within one of these, which may overlap.
    """
    found = []
    for number, label in enumerate(tags.labels):
        inside = np.concatenate([[False], sets.possible[:, 2 * number + 1 : 2 * number + 3].any(axis=1), [False]])
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            found.append(Span(int(words[first, 0]), int(words[last - 1, 1]), label))
    return sorted(set(found) - set(sure))
