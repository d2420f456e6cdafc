"""What a model says of some notes: their labels, or the spans in them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Self, final

import numpy as np
from jaxtyping import Bool, Float, Int

from clinlm.terminology.spans import Span

DIGITS = 6
"""Significant digits of a probability as written; what is decided is decided before it is rounded."""

Written = dict[str, Any]
"""What is written of one note, as JSON: `id`, `line`, and one value a name of `Question.schema`."""


class Said(ABC):
    """What one model says of some notes, in their order; nothing of their texts. Subclasses are final, one per kind."""

    @property
    @abstractmethod
    def sound(self) -> Bool[np.ndarray, " documents"]:
        """Whether the model has an answer to a note: a finite number wherever there has to be one."""

    @abstractmethod
    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        """Return what it says of the chosen notes."""


@final
@dataclass(frozen=True)
class Judged(Said):
    """Labels of notes.

    Attributes:
        probabilities: in [0, 1]; NaN where the model cannot answer.
        decided: the labels predicted, at the thresholds that the model was saved with.
    """

    probabilities: Float[np.ndarray, "documents labels"]
    decided: Bool[np.ndarray, "documents labels"]

    @property
    def sound(self) -> Bool[np.ndarray, " documents"]:
        """See `Said.sound`."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        """See `Said.only`."""
        return type(self)(self.probabilities[chosen], self.decided[chosen])


@final
@dataclass(frozen=True)
class Found(Said):
    """Spans of notes.

    Attributes:
        spans: of every note, in order; none shares a character with another.
        probabilities: of every span of every note.
        tags: of every word of every note.
        unread: words of every note that stand in no row of the model.
        finite: whether all numbers of a note are.
    """

    spans: Sequence[Sequence[Span]]
    probabilities: Sequence[Sequence[float]]
    tags: Sequence[Int[np.ndarray, " _"]]
    unread: Int[np.ndarray, " documents"]
    finite: Bool[np.ndarray, " documents"]

    @property
    def sound(self) -> Bool[np.ndarray, " documents"]:
        """See `Said.sound`."""
        return self.finite

    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        """See `Said.only`."""
        return replace(
            self,
            spans=[*compress(self.spans, chosen)],
            probabilities=[*compress(self.probabilities, chosen)],
            tags=[*compress(self.tags, chosen)],
            unread=self.unread[chosen],
            finite=self.finite[chosen],
        )


def rounded(value: float) -> float:
    """Return a probability as it is written, to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")
