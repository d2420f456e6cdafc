"""What a model is asked of a note, and all that depends on it between its logits and a file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import numpy as np
from jaxtyping import Int
from torch import Tensor

from clinlm.predict.answers import Said, Written
from clinlm.predict.comparison import Comparison
from clinlm.tasks.inference_config import InferenceConfig

S = TypeVar("S", bound=Said)


@final
@dataclass
class Reading:
    """How some notes are read.

    Attributes:
        notes: how many.
        document: the note that each row is of, ascending.
        lengths: tokens of each row.
        words: of every note, as `clinlm.text.words.Words`, where words are asked for.
        places: of every note, as `clinlm.text.tokens.Rows.places`, where words are asked for.
    """

    notes: int
    document: list[int]
    lengths: list[int]
    words: list[Int[np.ndarray, "_ 2"]]
    places: list[Int[np.ndarray, " _"]]


class Question(ABC, Generic[S]):
    """What a model is asked of a note. Subclasses are final, one per kind of answer.

    Attributes:
        by_word: whether words of a note are asked for, and not the note.
        serving: of the model.
        labels: by which answers are counted.
    """

    by_word: ClassVar[bool]

    def __init__(self, serving: InferenceConfig, labels: Sequence[str]) -> None:
        self.serving, self.labels = serving, tuple(labels)

    @abstractmethod
    def said(self, logits: Sequence[Tensor | None], reading: Reading) -> S:
        """Return the answers of a model.

        Args:
            logits: of every row: outputs, or tokens (and perhaps padding) x outputs; None for a row without a token.
            reading: of the notes.
        """

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return name -> type (of polars) of what is written of a note."""

    @abstractmethod
    def rows(self, said: S) -> list[Written]:
        """Return what is written of every note."""

    @abstractmethod
    def headings(self) -> list[str]:
        """Return the names of the columns in which a table without lists has what `schema` names.

        Raises:
            ValueError: such a table cannot hold it.
        """

    @abstractmethod
    def cells(self, row: Written, prefix: str) -> list[Any]:
        """Return what stands in these columns; what belongs to a model has its `prefix` in the row."""

    @abstractmethod
    def predicted(self, said: S) -> Mapping[str, int]:
        """Return for every label how often it is predicted."""

    @abstractmethod
    def totals(self, said: S) -> Mapping[str, float]:
        """Return what else is counted, by name."""

    @abstractmethod
    def told(self, totals: Mapping[str, float]) -> Sequence[str]:
        """Return the lines that tell a user of these counts, as far as they are to be told."""

    @abstractmethod
    def comparison(self, counts: dict[str, Any] | None) -> Comparison[S]:
        """Return what compares two models; `counts` as it counted before, None to begin."""
