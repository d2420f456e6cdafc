"""Tokenised notes: arrays in memory, or mapped from a file."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Int

from clinlm.tasks.examples import units_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """Every row of tokens of a task, end to end in one array: a list of lists would cost ten times the memory.

    Attributes:
        tokens: all rows, special tokens included.
        row_start: where each row begins in `tokens`, and its end as the last entry.
        document_start: where the rows of each document begin, and their end as the last entry.
        pad: id of the padding token.
        cut: number of documents with tokens outside of all rows.
        place: where units are words, the index in `tokens` of the token for every word, or -1 for a word outside of all
            rows; None where units are documents.
        unit_start: where the words of each document begin in `place`, and their end as the last entry.
    """

    tokens: Int[np.ndarray, " tokens"]
    row_start: Int[np.ndarray, " rows_and_end"]
    document_start: Int[np.ndarray, " documents_and_end"]
    pad: int
    cut: int = 0
    place: Int[np.ndarray, " words"] | None = None
    unit_start: Int[np.ndarray, " documents_and_end"] | None = None

    @classmethod
    def of(
        cls,
        documents: Sequence[Sequence[Sequence[int]]],
        pad: int,
        cut: int = 0,
        places: Sequence[Int[np.ndarray, " _"]] | None = None,
    ) -> Self:
        """Build from documents, each a list of rows, each a list of token ids.

        Args:
            documents: the rows.
            pad, cut: see the class.
            places: where units are words: of every document, for every word its token in the document's rows flattened,
                or -1.
        """
        rows = [row for document in documents for row in document]
        whole = cls(
            np.fromiter((token for row in rows for token in row), dtype=np.int32),
            np.cumsum([0, *map(len, rows)], dtype=np.int64),
            np.cumsum([0, *map(len, documents)], dtype=np.int64),
            pad,
            cut,
        )
        if places is None:
            return whole
        first = whole.row_start[whole.document_start[:-1]]
        moved = [np.where(own < 0, -1, own + start) for own, start in zip(places, first.tolist(), strict=True)]
        return replace(
            whole,
            place=np.concatenate([*moved, np.zeros(0, np.int64)]).astype(np.int64),
            unit_start=np.cumsum([0, *map(len, places)], dtype=np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the documents of all parts, in memory, those of later ones numbered after those of earlier ones."""
        arrays = {name: np.concatenate(own) for name, own in cls.joined_arrays(parts).items()}
        return cls(**arrays, pad=parts[0].pad, cut=sum(part.cut for part in parts))

    @classmethod
    def joined_arrays(cls, parts: Sequence[Self]) -> dict[str, list[Int[np.ndarray, " _"]]]:
        """Return what the arrays of `joined` are made of, end to end; tokens are not copied."""
        found = {
            "tokens": [part.tokens for part in parts],
            "row_start": _continued([part.row_start for part in parts]),
            "document_start": _continued([part.document_start for part in parts]),
        }
        if parts[0].place is not None:
            first = np.cumsum([0, *(len(part.tokens) for part in parts)]).tolist()
            places, starts = zip(*((part.place, part.unit_start) for part in parts), strict=True)
            found["place"] = [np.where(own < 0, -1, own + start) for own, start in zip(places, first, strict=False)]
            found["unit_start"] = _continued(starts)
        return found

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.document_start) - 1

    @property
    def units(self) -> int:
        """Number of rows of logits: documents, or words."""
        return len(self) if self.place is None else len(self.place)

    def lengths(self) -> Int[np.ndarray, " documents"]:
        """Return the tokens of each document, over all its rows."""
        edges = self.row_start[self.document_start]
        lengths: Int[np.ndarray, " documents"] = np.diff(edges)
        return lengths

    def share_of(self, token: int, documents: Int[np.ndarray, " chosen"], without: Collection[int]) -> float:
        """Return the share of a token among the tokens of `documents`, those in `without` not counted."""
        found = total = 0
        for document in documents:  # one by one: all tokens may be more than memory holds
            tokens = np.concatenate(self.rows(document))
            counted = tokens[~np.isin(tokens, [*without])]
            found, total = found + int((counted == token).sum()), total + len(counted)
        return found / total if total else 0.0

    def rows(self, document: int) -> list[Int[np.ndarray, " tokens"]]:
        """Return the rows of one document."""
        first, end = self.document_start[document], self.document_start[document + 1]
        return [self.tokens[self.row_start[row] : self.row_start[row + 1]] for row in range(first, end)]

    def index(self, documents: Sequence[int]) -> Int[np.ndarray, " units"]:
        """Return the numbers of the units of `documents`, document by document."""
        return units_of(self.unit_start, np.asarray(documents, dtype=np.int64))

    def collate(self, documents: Sequence[int]) -> "dict[str, Tensor]":
        """Return the rows of `documents`, padded to the longest of them: see `clinlm.tasks.batches.Batch`."""
        import torch

        rows = [(place, row) for place, number in enumerate(documents) for row in self.rows(number)]
        longest = max(len(row) for _, row in rows)
        input_ids = torch.full((len(rows), longest), self.pad, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        for line, (_, row) in enumerate(rows):
            input_ids[line, : len(row)] = torch.from_numpy(row.astype(np.int64))
            attention_mask[line, : len(row)] = 1
        chosen = np.asarray(documents, dtype=np.int64)
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "document": torch.tensor([place for place, _ in rows]),
            "index": torch.from_numpy(self.index(documents)),
        }
        if self.place is not None:
            batch["place"] = torch.from_numpy(self._in_batch(self.place[batch["index"].numpy()], chosen, longest))
        return batch

    def _in_batch(
        self, places: Int[np.ndarray, " words"], documents: Int[np.ndarray, " chosen"], longest: int
    ) -> Int[np.ndarray, " words"]:
        """Return the index of the token of each word in the padded rows of `documents`, flattened."""
        row = np.searchsorted(self.row_start, places, side="right") - 1
        counts = np.diff(self.document_start)[documents]
        lines = units_of(self.document_start, documents)  # the numbers of their rows, line by line of the batch
        order = np.argsort(lines, kind="stable")
        line = order[np.searchsorted(lines, row, sorter=order).clip(max=int(counts.sum()) - 1)]
        return np.where(places < 0, -1, line * longest + places - self.row_start[row])


def _continued(starts: Sequence[Int[np.ndarray, " _"]]) -> list[Int[np.ndarray, " _"]]:
    """Return where each begins, of all, in pieces; only the last one ends with an end."""
    first = np.cumsum([0, *(int(own[-1]) for own in starts)]).tolist()
    moved = [own[:-1] + before for own, before in zip(starts, first, strict=False)]
    return [*moved, np.array(first[-1:], dtype=np.int64)]
