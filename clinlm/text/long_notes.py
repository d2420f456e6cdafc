"""How a note longer than the model's limit becomes rows of tokens, and how the rows' logits become the note's."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor


class LongNotes(ABC):
    """A way to cut. Subclasses are final and hold plain settings only."""

    @abstractmethod
    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        """Cut one note into at least one row.

        Args:
            tokens: the note's token ids without special tokens; may be empty.
            room: most tokens a row may hold, special tokens not counted; at least 1.
        """

    def pool(
        self, logits: Float[Tensor, "rows outputs"], document: Int[Tensor, " rows"], documents: int
    ) -> Float[Tensor, "documents outputs"]:
        """Return one row of logits per document. `document[i]` is the document of row i, ascending."""
        if logits.shape[0] != documents:
            raise RuntimeError(f"{type(self).__name__} makes one row a document; got {logits.shape[0]} for {documents}")
        return logits


@final
@dataclass(frozen=True)
class Head(LongNotes):
    """The first tokens; the rest is not read."""

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        """See `LongNotes.cut`."""
        return [tokens[:room]]


@final
@dataclass(frozen=True)
class HeadTail(LongNotes):
    """The first and the last tokens, the middle left out.

    Source: Sun et al. 2019, "How to fine-tune BERT for text classification", arXiv:1905.05583, section 5.3.1 (128 + 382
    of 510).

    Args:
        head: share of the room that the beginning gets, in (0, 1); where the room is 2 or more, either side
            gets at least one token.
    """

    head: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.head < 1:
            raise ValueError(
                f"long_notes.head is a share in (0, 1); got {self.head}; use long_notes=head for all of it"
            )

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        """See `LongNotes.cut`."""
        if len(tokens) <= room:
            return [tokens]
        first = max(1, min(round(self.head * room), room - 1))
        return [[*tokens[:first], *tokens[len(tokens) - (room - first) :]]]


@final
@dataclass(frozen=True)
class Windows(LongNotes):
    """Overlapping windows over the whole note; their logits are pooled label by label.

    Args:
        overlap: share of a window that the next one repeats, in [0, 1).
        most: windows read at most, from the beginning of the note; bounds the cost of a very long note.
        pooling: `max` (a label holds if some window shows it) or `mean`.
    """

    overlap: float = 0.125
    most: int = 8
    pooling: Literal["max", "mean"] = "max"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"long_notes.overlap is a share in [0, 1); got {self.overlap}")
        if self.most < 1:
            raise ValueError(f"long_notes.most is at least 1 window; got {self.most}")
        if self.pooling not in ("max", "mean"):
            raise ValueError(f"long_notes.pooling is max or mean; got {self.pooling!r}")

    def cut(self, tokens: Sequence[int], room: int) -> list[Sequence[int]]:
        """See `LongNotes.cut`."""
        step = max(1, round(room * (1 - self.overlap)))
        starts = range(0, max(1, len(tokens) - room + step), step)
        return [tokens[start : start + room] for start in starts[: self.most]]

    def pool(
        self, logits: Float[Tensor, "rows outputs"], document: Int[Tensor, " rows"], documents: int
    ) -> Float[Tensor, "documents outputs"]:
        """See `LongNotes.pool`."""
        index = document.unsqueeze(-1).expand_as(logits)
        empty = logits.new_zeros(documents, logits.shape[1])
        how = {"max": "amax", "mean": "mean"}[self.pooling]
        return torch.scatter_reduce(empty, 0, index, logits, how, include_self=False)


UNREAD = 10.0
"""Logit of the first output, that of no entity, for a word that stands in no row; the others are 0."""


def unit_logits(rows: Tensor, batch: Mapping[str, Tensor], way: LongNotes) -> Float[Tensor, "units outputs"]:
    """Return one row of logits per unit of a batch: of every document, its rows pooled; or of every word.

    A word is answered for by its first token, in the row where that has most around it: windows that overlap answer for
    no word twice.

    Args:
        rows: logits (rows, outputs); or (rows, tokens, outputs), where units are words.
        batch: see `clinlm.tasks.batches.Batch`.
        way: how notes were cut.
    """
    if "place" not in batch:
        return way.pool(rows, batch["document"], len(batch["index"]))
    place = batch["place"]
    found = rows.flatten(0, 1)[place.clamp(min=0)]
    silent = torch.zeros(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    silent[0] = UNREAD
    return torch.where((place < 0).unsqueeze(-1), silent, found)
