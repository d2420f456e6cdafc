"""What depends on the kind of answer, between the logits of a model and a row of the output."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import numpy as np
from jaxtyping import Float, Int

from clinlm.metrics.prediction_sets import PredictionSets, at_coverage
from clinlm.predict.comparison import Comparison
from clinlm.predict.predictions import Predictions, Row
from clinlm.tasks.inference_config import InferenceConfig

RowLogits = Float[np.ndarray, "... outputs"]

P = TypeVar("P", bound=Predictions)


@final
@dataclass
class TokenizedNotes:
    """Rows of tokens that some notes are cut into.

    Attributes:
        document: note of each row, ascending.
        lengths: tokens of each row.
        words: of every note, as `clinlm.text.words.Words`, for heads by word.
        places: of every note, as `clinlm.text.tokens.Rows.places`, for heads by word.
    """

    notes: int
    document: list[int]
    lengths: list[int]
    words: list[Int[np.ndarray, "_ 2"]]
    places: list[Int[np.ndarray, " _"]]


class AnswerHead(ABC, Generic[P]):
    """Turns logits into predictions and predictions into rows. Subclasses are final, one per kind of answer.

    Args:
        config: how logits become decisions.
        labels: that predictions are counted by.
        coverage: of the sets that are written as well; None for none.

    Attributes:
        by_word: whether words are predicted, rather than notes.
        conformal: thresholds of the sets; None for none.
    """

    by_word: ClassVar[bool]

    def __init__(self, config: InferenceConfig, labels: Sequence[str], coverage: float | None = None) -> None:
        self.config, self.labels = config, tuple(labels)
        self.conformal = None if coverage is None else at_coverage(config.conformal, coverage)

    @final
    def sets(self, probabilities: Float[np.ndarray, "units outputs"]) -> PredictionSets | None:
        """Return the sets of possible labels (tags) of notes (words); None where none are asked for."""
        if self.conformal is None:
            return None
        decided = self.config.decide(probabilities)
        return PredictionSets.of(probabilities, decided, self.conformal, self.config.kind)

    @final
    def decode(self, logits: Sequence[RowLogits | None], notes: TokenizedNotes) -> P:
        """Return the predictions of a model; see `pool` for the arguments."""
        return self.decide(self.pool(logits, notes), notes)

    @abstractmethod
    def pool(self, logits: Sequence[RowLogits | None], notes: TokenizedNotes) -> Float[np.ndarray, "units outputs"]:
        """Return the logits of every note, or of every word.

        Args:
            logits: of every row: outputs, or tokens (perhaps with padding) x outputs; None for a row without a token.
            notes: that the rows are cut from.
        """

    @abstractmethod
    def decide(self, logits: Float[np.ndarray, "units outputs"], notes: TokenizedNotes) -> P:
        """Return the predictions of a model from the logits of every note, or of every word."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return name -> polars type of the values of a row."""

    @abstractmethod
    def rows(self, predictions: P) -> list[Row]:
        """Return one row per note."""

    @abstractmethod
    def predicted(self, predictions: P) -> Mapping[str, int]:
        """Return how often each label is predicted."""

    def totals(self, predictions: P) -> Mapping[str, float]:
        """Return further counts, by name."""
        return {}

    def describe(self, totals: Mapping[str, float]) -> Sequence[str]:
        """Return lines for the user about these counts."""
        return []

    @abstractmethod
    def comparison(self, counts: dict[str, Any] | None) -> Comparison[P]:
        """Return the comparison of two models; `counts` are those so far, None to begin."""
