"""The scores that positives have, and how many scores are above them: all that ranking and the best F1 depend on.

Between two such scores a curve is straight and F1 only falls. Of thousands of labels few documents are positive, so a
table costs one pass over its cells and little per positive.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple, Self, final

import numpy as np
from jaxtyping import Bool, Float, Int32, Integer

FEW: Final = 24
"""A column with at most so many steps is compared with each of them, one with more is sorted."""

LARGE: Final = 2**20
"""A longer column is thinned before it is sorted, and read in blocks of so many cells."""

GROUP: Final = 2**24
"""Cells sorted, or found among the steps, at once: a table of 350 million of them takes gigabytes otherwise."""

_SAMPLE: Final = 2**16
"""Cells by which it is seen where the others are."""

_COLUMNS: Final = 64
"""Columns copied at once: 512 bytes of a row of float64."""

_SHIFT: Final = 36
"""Bits of a float64 that `_leading` drops: 16 of its 52 bits of fraction remain."""

_LEAST: Final = 2.0**-30
"""Scores below are alike for `_leading`."""


@final
class ScoreSteps(NamedTuple):
    """The distinct scores of positives, column after column, from high to low.

    Attributes:
        column: of every step.
        score: of every step.
        first: step at which each column starts; at the end the number of steps.
        row: of every positive, in the order of the steps.
        step: of every positive.
    """

    column: Integer[np.ndarray, " steps"]
    score: Float[np.ndarray, " steps"]
    first: Integer[np.ndarray, " ends"]
    row: Integer[np.ndarray, " positives"]
    step: Integer[np.ndarray, " positives"]

    @classmethod
    def of(cls, truth: Bool[np.ndarray, "rows columns"], scores: Float[np.ndarray, "rows columns"]) -> Self:
        """Return the steps of a table."""
        row, column = np.nonzero(truth)
        score = scores[row, column]
        order = np.lexsort((-score, column))
        row, column, score = row[order], column[order], score[order]
        new = np.ones(len(row), dtype=bool)
        new[1:] = (column[1:] != column[:-1]) | (score[1:] != score[:-1])
        first = np.searchsorted(column[new], np.arange(truth.shape[1] + 1))
        return cls(column[new], score[new], first, row, np.cumsum(new) - 1)

    def counts(
        self, scores: Float[np.ndarray, "rows columns"]
    ) -> tuple[Integer[np.ndarray, " steps"], Integer[np.ndarray, " steps"]]:
        """Return how many scores of its column are above each step, and how many are at or above it."""
        above, taken = np.zeros((2, len(self.score)), dtype=np.int64)
        for column, values in _columns(scores):
            own = slice(self.first[column], self.first[column + 1])
            above[own], taken[own] = _counts(values, self.score[own])
        return above, taken

    def below(
        self, scores: Float[np.ndarray, "rows columns"], chosen: Integer[np.ndarray, " chosen"]
    ) -> Float[np.ndarray, " chosen"]:
        """Return the highest score of its column that is below each of some steps in ascending order, 0 without one."""
        found, ends = [], np.searchsorted(chosen, self.first)
        for column, values in _columns(scores):
            for score in self.score[chosen[ends[column] : ends[column + 1]]]:
                found.append(np.max(values, where=values < score, initial=0.0))
        return np.array(found, dtype=scores.dtype)

    def reached(
        self, scores: Float[np.ndarray, "rows columns"]
    ) -> Iterator[tuple[slice, Integer[np.ndarray, " cells"], Int32[np.ndarray, " cells"], Bool[np.ndarray, " cells"]]]:
        """Yield some steps after the others, and the cells whose highest step that they reach is among them.

        Of these cells the row, that step, counted from the first of some, and whether they have its score. A column of
        more than `GROUP` cells is read once for about so many of them.
        """
        cuts = self._cuts(scores[:, 0]) if scores.shape[1] == 1 else []
        for first, last in pairwise([0, *cuts, len(self.score)]):
            found = list[tuple[np.ndarray, np.ndarray, np.ndarray]]()
            for column, start, values in _parts(scores):
                low, high = max(first, self.first[column]), min(last, self.first[column + 1])
                if low < high:
                    chosen = np.flatnonzero(values >= self.score[high - 1])
                    if low > self.first[column]:
                        chosen = chosen[values[chosen] < self.score[low - 1]]
                    values = values[chosen]
                    place = high - np.searchsorted(self.score[low:high][::-1], values, "right")
                    found.append((chosen + start, (place - first).astype(np.int32), self.score[place] == values))
            if found:
                row, step, tied = (np.concatenate(each) for each in zip(*found, strict=True))
                yield slice(first, last), row, step, tied

    def _cuts(self, values: Float[np.ndarray, " cells"]) -> list[int]:
        """Return where to part the steps of one column, so that about `GROUP` cells belong to each part."""
        parts = len(values) // GROUP + 1
        some = np.sort(values[:: len(values) // _SAMPLE + 1])[::-1]
        at_least = np.searchsorted(-self.score, -some[np.arange(1, parts) * len(some) // parts], "right")
        return [int(step) for step in np.unique(at_least) if 0 < step < len(self.score)]


def _parts(scores: Float[np.ndarray, "rows columns"]) -> Iterator[tuple[int, int, Float[np.ndarray, " rows"]]]:
    """Yield the number of every column, and its scores from a row on, block after block."""
    for column, values in _columns(scores):
        for start in range(0, len(values), LARGE):
            yield column, start, values[start : start + LARGE]


def _columns(scores: Float[np.ndarray, "rows columns"]) -> Iterator[tuple[int, Float[np.ndarray, " rows"]]]:
    """Yield the number and the scores of every column, which lie next to each other in memory."""
    for start in range(0, scores.shape[1], _COLUMNS):
        yield from enumerate(np.ascontiguousarray(scores[:, start : start + _COLUMNS].T), start=start)


def _counts(
    scores: Float[np.ndarray, " cells"], steps: Float[np.ndarray, " steps"]
) -> tuple[Integer[np.ndarray, " steps"], Integer[np.ndarray, " steps"]]:
    if len(steps) <= FEW:
        pairs = [(np.count_nonzero(scores > step), np.count_nonzero(scores >= step)) for step in steps]
        higher, reached = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return higher, reached
    if len(scores) > LARGE:
        return _counts_of_many(scores, steps)
    ordered = np.sort(scores)
    above, taken = (len(ordered) - np.searchsorted(ordered, steps, side) for side in ("right", "left"))
    return above, taken


def _counts_of_many(
    scores: Float[np.ndarray, " cells"], steps: Float[np.ndarray, " steps"]
) -> tuple[Integer[np.ndarray, " steps"], Integer[np.ndarray, " steps"]]:
    """Sort only the scores that share their leading bits with a step, `GROUP` at once; count the others by these."""
    keys = _leading(steps)
    near = np.zeros(int(keys.max()) + 2, dtype=bool)
    near[keys] = True
    kept, far = list[np.ndarray](), np.zeros(len(near), dtype=np.int64)
    above, taken = np.zeros((2, len(steps)), dtype=np.int64)
    for start in range(0, len(scores), LARGE):
        block = scores[start : start + LARGE]
        own = np.minimum(_leading(block), len(near) - 1)
        chosen = near[own]
        kept.append(block[chosen])
        far += np.bincount(own[~chosen], minlength=len(near))
        if start + LARGE >= len(scores) or sum(map(len, kept)) >= GROUP:
            ordered = np.concatenate(kept)
            ordered.sort()
            kept = []
            above += len(ordered) - np.searchsorted(ordered, steps, "right")
            taken += len(ordered) - np.searchsorted(ordered, steps, "left")
    others = far[::-1].cumsum()[::-1][keys]
    return above + others, taken + others


def _leading(scores: Float[np.ndarray, " cells"]) -> Integer[np.ndarray, " cells"]:
    """Return a whole number >= 0 that never falls where scores rise: the bits of positive floats are in their order."""
    bits = scores.astype(np.float64).view(np.int64)
    return np.asarray(np.maximum((bits >> _SHIFT) - (np.float64(_LEAST).view(np.int64) >> _SHIFT), 0))
