"""Cuts notes that exceed the model's limit into rows of tokens, and pools the rows' logits into the note's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Int

from clinlm.config.errors import ConfigError, ModelError


class LongNotes(ABC):
    """A strategy for long notes. Subclasses are final and hold plain settings only.

    Attributes:
        pooling: how the logits of a document's rows become its own; None where every document is one row.
    """

    pooling: Literal["max", "mean"] | None = None

    @abstractmethod
    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        """Cut one note into at least one row.

        Args:
            tokens: the note's token ids without special tokens; may be empty.
            room: most tokens of a row, special tokens not counted; >= 1.
        """

    def tokens_read(self, room: int) -> int | None:
        """Return n such that tokens after the first n change no row, if there are more than n; None for no such n."""
        return None

    @final
    def pool(
        self, logits: Float[np.ndarray, "rows outputs"], document: Int[np.ndarray, " rows"], documents: int
    ) -> Float[np.ndarray, "documents outputs"]:
        """Return one row of logits per document. `document[i]` is the document of row i, ascending.

        Training has the same with gradients: `clinlm.tasks.batches.pool_rows`.

        Raises:
            ModelError: documents are one row each, and there are other numbers of both.
        """
        if self.pooling is None:
            self.check_rows(len(logits), documents)
            return logits
        if not documents:
            return logits[:0]
        starts = np.searchsorted(document, np.arange(documents))
        if self.pooling == "max":
            largest: Float[np.ndarray, "documents outputs"] = np.maximum.reduceat(logits, starts, axis=0)
            return largest
        counts = np.diff(starts, append=len(document))
        total = np.add.reduceat(logits, starts, axis=0)
        return np.asarray(total / counts[:, None].astype(logits.dtype))

    @final
    def check_rows(self, rows: int, documents: int) -> None:
        """Raise unless every document is one row.

        Raises:
            ModelError: the numbers differ.
        """
        if rows != documents:
            raise ModelError(f"{type(self).__name__} must have one row per document, got {rows} for {documents}")


def require_one_row(reader: str, long_notes: LongNotes) -> None:
    """Check that every note is one row.

    Args:
        reader: what needs that, such as model=wide.

    Raises:
        ConfigError: notes are cut into several.
    """
    if long_notes.pooling is not None:
        raise ConfigError(
            f"{reader} reads a note in one row, got long_notes={type(long_notes).__name__.lower()}, which cuts it into "
            "several; set long_notes=head and a larger task.max_tokens"
        )


@final
@dataclass(frozen=True)
class Head(LongNotes):
    """Reads the first tokens only."""

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        return [tokens[:room]]

    def tokens_read(self, room: int) -> int:
        return room


@final
@dataclass(frozen=True)
class HeadTail(LongNotes):
    """Reads the first and the last tokens only.

    Source: Sun et al. 2019, "How to fine-tune BERT for text classification", arXiv:1905.05583, section 5.3.1 (128 + 382
    of 510).

    Args:
        head: share of the room for the beginning, in (0, 1); if the room is >= 2, either side gets at least one token.
    """

    head: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.head < 1:
            raise ConfigError(
                f"long_notes.head must be in (0, 1), got {self.head}; set long_notes=head to read the beginning only"
            )

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        if len(tokens) <= room:
            return [tokens]
        first = max(1, min(round(self.head * room), room - 1))
        return [[*tokens[:first], *tokens[len(tokens) - (room - first) :]]]


@final
@dataclass(frozen=True)
class Windows(LongNotes):
    """Reads overlapping windows over the whole note, and pools their logits label by label.

    Args:
        overlap: share of a window that the next window repeats, in [0, 1).
        most: maximum number of windows, from the beginning of the note; bounds the cost of a very long note.
        pooling: `max` (a label is predicted if any window predicts it) or `mean`.
    """

    overlap: float = 0.125
    most: int = 8
    pooling: Literal["max", "mean"] = "max"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"long_notes.overlap must be in [0, 1), got {self.overlap}")
        if self.most < 1:
            raise ConfigError(f"long_notes.most must be >= 1, got {self.most}")
        if self.pooling not in ("max", "mean"):
            raise ConfigError(f"long_notes.pooling must be max or mean, got {self.pooling!r}")

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        step = self._step(room)
        starts = range(0, max(1, len(tokens) - room + step), step)
        return [tokens[start : start + room] for start in starts[: self.most]]

    def tokens_read(self, room: int) -> int:
        return room + (self.most - 1) * self._step(room)

    def _step(self, room: int) -> int:
        return max(1, round(room * (1 - self.overlap)))


UNREAD = 10.0
"""Logit of the first output (no entity) for a word that is in no row; the others are 0."""


def word_logits(
    tokens: Float[np.ndarray, "tokens outputs"], place: Int[np.ndarray, " words"]
) -> Float[np.ndarray, "words outputs"]:
    """Return the logits of every word: those of the token at its place, or `UNREAD` where that is -1.

    Args:
        tokens: of all rows, end to end; at least one.
        place: see `clinlm.text.tokens.Rows.places`.
    """
    found: Float[np.ndarray, "words outputs"] = tokens[place]
    found[place < 0] = 0
    found[place < 0, 0] = UNREAD
    return found
