"""Cuts notes that exceed the model's limit into rows of tokens, and pools the rows' logits into the note's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clinlm.config.errors import ConfigError, ModelError


class LongNotes(ABC):
    """A strategy for long notes. Subclasses are final and hold plain settings only."""

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

    def pool(
        self, logits: Float[Tensor, "rows outputs"], document: Int[Tensor, " rows"], documents: int
    ) -> Float[Tensor, "documents outputs"]:
        """Return one row of logits per document. `document[i]` is the document of row i, ascending."""
        if logits.shape[0] != documents:
            raise ModelError(
                f"{type(self).__name__} must have one row per document, got {logits.shape[0]} for {documents}"
            )
        return logits


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

    def pool(
        self, logits: Float[Tensor, "rows outputs"], document: Int[Tensor, " rows"], documents: int
    ) -> Float[Tensor, "documents outputs"]:
        index = document.unsqueeze(-1).expand_as(logits)
        empty = logits.new_zeros(documents, logits.shape[1])
        how = {"max": "amax", "mean": "mean"}[self.pooling]
        return torch.scatter_reduce(empty, 0, index, logits, how, include_self=False)


UNREAD = 10.0
"""Logit of the first output (no entity) for a word that is in no row; the others are 0."""


def unit_logits(rows: Tensor, batch: Mapping[str, Tensor], long_notes: LongNotes) -> Float[Tensor, "units outputs"]:
    """Return one row of logits per unit of a batch: of every document, its rows pooled; or of every word.

    A word takes the logits of its first token, in the row where that token has the most context, so that overlapping
    windows predict no word twice.

    Args:
        rows: logits (rows, outputs); or (rows, tokens, outputs), where units are words.
        batch: see `clinlm.tasks.batches.Batch`.
        long_notes: the strategy that cut the notes.
    """
    if "place" not in batch:
        return long_notes.pool(rows, batch["document"], len(batch["index"]))
    place = batch["place"]
    found = rows.flatten(0, 1)[place.clamp(min=0)]
    unread = torch.zeros(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    unread[0] = UNREAD
    return torch.where((place < 0).unsqueeze(-1), unread, found)
