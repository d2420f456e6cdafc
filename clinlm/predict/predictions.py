"""Predictions of a model for some notes: their labels, or the spans in them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import chain, compress
from typing import Any, Self, TypeVar, final

import numpy as np
from jaxtyping import Bool, Float, Int

from clinlm.metrics.prediction_sets import PredictionSets
from clinlm.predict.possible_spans import PossibleSpans
from clinlm.terminology.spans import Span

DIGITS = 6
"""Significant digits of a written probability; decisions are made before rounding."""

Row = dict[str, Any]
"""Answer to one note, as JSON."""

P = TypeVar("P")


class Predictions(ABC):
    """Predictions of one model for some notes, in order, without their texts. Subclasses are final, one per kind."""

    @property
    @abstractmethod
    def valid(self) -> Bool[np.ndarray, " documents"]:
        """Return for each note whether the model has an answer: finite numbers wherever needed."""

    @abstractmethod
    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        """Return the predictions for the chosen notes."""


@final
@dataclass(frozen=True)
class DocumentPredictions(Predictions):
    """Labels of notes.

    Attributes:
        probabilities: in [0, 1]; NaN where the model has no answer.
        decided: the predicted labels, at the thresholds that the model was saved with.
        sets: of possible labels; None where none were asked for.
        deferred: whether a cascade asked its second model; None for a single model.
    """

    probabilities: Float[np.ndarray, "documents labels"]
    decided: Bool[np.ndarray, "documents labels"]
    sets: PredictionSets | None = None
    deferred: Bool[np.ndarray, " documents"] | None = None

    @property
    def valid(self) -> Bool[np.ndarray, " documents"]:
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        sets = None if self.sets is None else self.sets.only(chosen)
        deferred = None if self.deferred is None else self.deferred[chosen]
        return type(self)(self.probabilities[chosen], self.decided[chosen], sets, deferred)


@final
@dataclass(frozen=True)
class SpanPredictions(Predictions):
    """Spans of notes.

    Attributes:
        spans: of every note, in order, without overlap.
        probabilities: of every span of every note.
        tags: of every word of every note.
        unread: number of words of every note that are in no row of the model.
        finite: whether all numbers of a note are finite.
        further: what is sure and what else is possible; None where it was not asked for.
    """

    spans: Sequence[Sequence[Span]]
    probabilities: Sequence[Sequence[float]]
    tags: Sequence[Int[np.ndarray, " _"]]
    unread: Int[np.ndarray, " documents"]
    finite: Bool[np.ndarray, " documents"]
    further: PossibleSpans | None = None

    @property
    def valid(self) -> Bool[np.ndarray, " documents"]:
        return self.finite

    def only(self, chosen: Bool[np.ndarray, " documents"]) -> Self:
        return replace(
            self,
            spans=[*compress(self.spans, chosen)],
            probabilities=[*compress(self.probabilities, chosen)],
            tags=[*compress(self.tags, chosen)],
            unread=self.unread[chosen],
            finite=self.finite[chosen],
            further=None if self.further is None else self.further.only(chosen),
        )


def join_predictions(parts: Sequence[P]) -> P:
    """Return the predictions for the notes of all parts, in order; at least one part, all of one kind."""
    each: Any = parts
    return type(parts[0])(*(_joined([getattr(part, own.name) for part in each]) for own in fields(each[0])))


def _joined(values: list[Any]) -> Any:
    if values[0] is None:
        return None
    if is_dataclass(values[0]):
        return join_predictions(values)
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else [*chain.from_iterable(values)]


def rounded(probability: float) -> float:
    """Return a probability as it is written, with `DIGITS` significant digits."""
    return float(f"{probability:.{DIGITS}g}")
