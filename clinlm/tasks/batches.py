"""Tokenised notes in memory, and batches of notes of similar length."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clinlm.config.errors import ConfigError
from clinlm.tasks.examples import units_of
from clinlm.text.long_notes import UNREAD, LongNotes

Batch = dict[str, Tensor]
"""`input_ids`, `attention_mask` (rows, tokens); `document` (rows,): the document of the batch that a row belongs to,
ascending; `index` (units,): the number in the task of every unit (document or word); where units are words, `place`
(units,): the token whose logits are the word's, in `input_ids` flattened, or -1 where the word is not read; `targets`;
`teacher_logits` (units, outputs) with a teacher; and, with a transfer set, `labelled` (units,): which units have
labels. The targets of the others are zeros."""


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

    def followed_by(self, other: Self) -> Self:
        """Return the documents of both, those of `other` numbered after ours; `cut` is unchanged."""
        units: dict[str, Any] = {}
        if self.place is not None and self.unit_start is not None:
            assert other.place is not None and other.unit_start is not None, "units must be words in both"
            moved = np.where(other.place < 0, -1, other.place + len(self.tokens))
            units["place"] = np.concatenate([self.place, moved])
            units["unit_start"] = _continued(self.unit_start, other.unit_start)
        return replace(
            self,
            tokens=np.concatenate([self.tokens, other.tokens]),
            row_start=_continued(self.row_start, other.row_start),
            document_start=_continued(self.document_start, other.document_start),
            **units,
        )

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
        tokens = np.concatenate([row for document in documents for row in self.rows(document)])
        counted = tokens[~np.isin(tokens, [*without])]
        return float((counted == token).mean()) if len(counted) else 0.0

    def rows(self, document: int) -> list[Int[np.ndarray, " tokens"]]:
        """Return the rows of one document."""
        first, end = self.document_start[document], self.document_start[document + 1]
        return [self.tokens[self.row_start[row] : self.row_start[row + 1]] for row in range(first, end)]

    def collate(self, documents: Sequence[int]) -> Batch:
        """Return the rows of `documents`, padded to the longest of them."""
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
            "index": torch.from_numpy(units_of(self.unit_start, chosen)),
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


def _continued(
    starts: Int[np.ndarray, " ours_and_end"], others: Int[np.ndarray, " theirs_and_end"]
) -> Int[np.ndarray, " both_and_end"]:
    return np.concatenate([starts[:-1], starts[-1] + others])


class LengthBatches(Sampler[list[int]]):
    """Batches of documents of similar length, in a new order every epoch.

    Documents are shuffled, split into pools of `pool` batches, sorted by length within a pool, and the batches are
    shuffled: nearly random batches with little padding. The order depends on (seed, epoch) only, so that a resumed run
    has the same one.

    Args:
        documents: numbers of the documents.
        lengths: tokens of each of them.
        size: documents a batch.
        seed: of the order; None for one fixed pass, shortest documents first (evaluation).
        pool: batches sorted together.
    """

    def __init__(
        self,
        documents: Int[np.ndarray, " documents"],
        lengths: Int[np.ndarray, " documents"],
        size: int,
        seed: int | None,
        pool: int = 32,
    ) -> None:
        if size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {size}")
        self.documents, self.lengths, self.size, self.seed, self.pool = documents, lengths, size, seed, pool
        self.epoch = 0
        self.sampler = self  # Lightning looks for `batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (called by Lightning before each)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.documents) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            order = np.argsort(self.lengths, kind="stable")
            yield from self._batches(order)
            return
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.documents))
        width = self.size * self.pool
        # Only the very last batch may be short: sorting inside a pool never moves documents between pools.
        pools = [order[start : start + width] for start in range(0, len(order), width)]
        batches = [b for p in pools for b in self._batches(p[np.argsort(self.lengths[p], kind="stable")])]
        for number in rng.permutation(len(batches)):
            yield batches[number]

    def _batches(self, order: Int[np.ndarray, " chosen"]) -> list[list[int]]:
        return [self.documents[order[start : start + self.size]].tolist() for start in range(0, len(order), self.size)]


def ordered_loader(
    encoded: Encoded,
    documents: Int[np.ndarray, " chosen"],
    collate: Callable[[Sequence[int]], Batch],
    batch_size: int = 32,
    seed: int | None = None,
) -> DataLoader[Any]:
    """Return a loader of `documents` in batches of similar length; see `LengthBatches` for `seed`."""
    batches = LengthBatches(documents, encoded.lengths()[documents], batch_size, seed)
    numbers = cast(Dataset[int], range(len(encoded)))  # collation does the work, on whole batches
    return DataLoader(numbers, batch_sampler=batches, collate_fn=collate)


@dataclass(frozen=True)
class Collate:
    """Makes a `Batch`, with all that the loss needs, from document numbers.

    Attributes:
        encoded: documents, then the texts of a transfer set.
        targets: row i for unit i; the texts have none.
        teacher_logits: row i for unit i, those of the texts last.
    """

    encoded: Encoded
    targets: Tensor
    teacher_logits: Float[Tensor, "units outputs"] | None = None

    def __call__(self, documents: Sequence[int]) -> Batch:
        batch: dict[str, Any] = self.encoded.collate(documents)
        if self.encoded.units > len(self.targets):
            labelled = batch["labelled"] = batch["index"] < len(self.targets)
            batch["targets"] = self.targets.new_zeros(len(labelled), *self.targets.shape[1:])
            batch["targets"][labelled] = self.targets[batch["index"][labelled]]
        else:
            batch["targets"] = self.targets[batch["index"]]
        if self.teacher_logits is not None:
            batch["teacher_logits"] = self.teacher_logits[batch["index"]]
        return batch


def pool_rows(
    long_notes: LongNotes, logits: Float[Tensor, "rows outputs"], document: Int[Tensor, " rows"], documents: int
) -> Float[Tensor, "documents outputs"]:
    """Return one row of logits per document, as `LongNotes.pool`, with gradients."""
    if long_notes.pooling is None:
        long_notes.check_rows(len(logits), documents)
        return logits
    index = document.unsqueeze(-1).expand_as(logits)
    empty = logits.new_zeros(documents, logits.shape[1])
    how = {"max": "amax", "mean": "mean"}[long_notes.pooling]
    return torch.scatter_reduce(empty, 0, index, logits, how, include_self=False)


def unit_logits(rows: Tensor, batch: Mapping[str, Tensor], long_notes: LongNotes) -> Float[Tensor, "units outputs"]:
    """Return one row of logits per unit of a batch: of every document, its rows pooled; or of every word.

    A word takes the logits of its first token, in the row where that token has the most context, so that overlapping
    windows predict no word twice.

    Args:
        rows: logits (rows, outputs); or (rows, tokens, outputs), where units are words.
        batch: see `Batch`.
        long_notes: the strategy that cut the notes.
    """
    if "place" not in batch:
        return pool_rows(long_notes, rows, batch["document"], len(batch["index"]))
    place = batch["place"]
    found = rows.flatten(0, 1)[place.clamp(min=0)]
    unread = torch.zeros(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    unread[0] = UNREAD
    return torch.where((place < 0).unsqueeze(-1), unread, found)
