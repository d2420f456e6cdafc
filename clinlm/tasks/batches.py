"""Tokenised notes in memory, and batches of notes of similar length."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from clinlm.config.errors import ConfigError
from clinlm.tasks.encoded import Encoded
from clinlm.text.long_notes import UNREAD, LongNotes

Batch = dict[str, Tensor]
"""`input_ids`, `attention_mask` (rows, tokens); `document` (rows,): the document of the batch that a row belongs to,
ascending; `index` (units,): the number in the task of every unit (document or word); where units are words, `place`
(units,): the token whose logits are the word's, in `input_ids` flattened, or -1 where the word is not read; `targets`;
`teacher_logits` (units, outputs) with a teacher; `wide_logits` (units, outputs), which stand in for the wide branch of
a network in training; and, with a transfer set, `labelled` (units,): which units have labels. The targets of the others
are zeros. What the batch of one rank has besides: see `RankCollate`."""
WHOLE = "whole."
"""Before the names of what a batch of one rank knows of the units of all ranks."""


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

    Attributes:
        given: batches of the epoch so far.
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
        self.epoch = self.given = 0
        self._resumed = (0, 0)
        self.sampler = self  # Lightning looks for `batch_sampler.sampler.set_epoch`

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (called by Lightning before each)."""
        self.epoch = epoch

    def resume(self, epoch: int, given: int) -> None:
        """Leave out the first `given` batches of an epoch: those that an earlier process has had."""
        self._resumed = (epoch, given)

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
        epoch, given = self._resumed
        self.given = given if epoch == self.epoch else 0
        for number in rng.permutation(len(batches))[self.given :]:
            self.given += 1
            yield batches[number]

    def _batches(self, order: Int[np.ndarray, " chosen"]) -> list[list[int]]:
        return [self.documents[order[start : start + self.size]].tolist() for start in range(0, len(order), self.size)]


class LengthLoader(DataLoader[Any]):
    """A loader that Lightning resumes in the middle of an epoch: its batches are made in its own process, in order."""

    batch_sampler: LengthBatches

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of which epoch there were."""
        return {"epoch": self.batch_sampler.epoch, "given": self.batch_sampler.given}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after them; the next epoch begins with its first."""
        self.batch_sampler.resume(state["epoch"], state["given"])


def ordered_loader(
    encoded: Encoded,
    documents: Int[np.ndarray, " chosen"],
    collate: Callable[[Sequence[int]], Batch],
    batch_size: int = 32,
    seed: int | None = None,
) -> LengthLoader:
    """Return a loader of `documents` in batches of similar length; see `LengthBatches` for `seed`.

    On several ranks all have the same batches, of which `collate` takes a part: see `RankCollate`.
    """
    batches = LengthBatches(documents, encoded.lengths()[documents], batch_size, seed)
    numbers = cast(Dataset[int], range(len(encoded)))  # collation does the work, on whole batches
    return LengthLoader(numbers, batch_sampler=batches, collate_fn=collate)


@dataclass(frozen=True)
class Collate:
    """Makes a `Batch`, with all that the loss needs, from document numbers.

    Attributes:
        encoded: documents, then the texts of a transfer set.
        targets: row i for unit i, true or false, which take a quarter of floats; the texts have none.
        teacher_logits: row i for unit i, those of the texts last.
        wide_logits: the same, in place of a wide branch.
    """

    encoded: Encoded
    targets: Tensor
    teacher_logits: Float[Tensor, "units outputs"] | None = None
    wide_logits: Float[Tensor, "units outputs"] | None = None

    def __call__(self, documents: Sequence[int]) -> Batch:
        batch: dict[str, Any] = self.encoded.collate(documents)
        batch |= self.by_unit(batch["index"])
        if self.wide_logits is not None:
            batch["wide_logits"] = self.wide_logits[batch["index"]]
        return batch

    def by_unit(self, index: Int[Tensor, " units"]) -> Batch:
        """Return what the loss needs of units: targets, which are labelled, and the teacher's logits."""
        found: Batch = {}
        if self.encoded.units > len(self.targets):
            labelled = found["labelled"] = index < len(self.targets)
            found["targets"] = torch.zeros(len(labelled), *self.targets.shape[1:])
            found["targets"][labelled] = self.targets[index[labelled]].float()
        else:
            found["targets"] = self.targets[index].float()
        if self.teacher_logits is not None:
            found["teacher_logits"] = self.teacher_logits[index]
        return found


@dataclass(frozen=True)
class RankCollate:
    """Makes the batch of one rank from the documents of a batch of all ranks, so that every rank has its part.

    Documents are dealt in turn, which gives every rank notes of similar length. A rank for which none is left takes the
    first one, and counts nothing of it: all ranks have to run the network equally often.

    A batch has besides, under `WHOLE`, `index`, and what the loss needs, of the units of all ranks, those of the first
    rank first; `counts` (ranks,), how many of them are of each rank; and `share`, the weight of this rank's own mean in
    the mean over ranks: 1 where all have equally many documents, 0 where it counts nothing.
    """

    collate: Collate
    rank: int
    ranks: int

    def __call__(self, documents: Sequence[int]) -> Batch:
        parts = [documents[rank :: self.ranks] for rank in range(self.ranks)]
        own = parts[self.rank]
        index = [torch.from_numpy(self.collate.encoded.index(part)) for part in parts]
        batch = self.collate(own or documents[:1])
        whole = {"index": torch.cat(index), "counts": torch.tensor([*map(len, index)])}
        whole |= self.collate.by_unit(whole["index"])
        share = torch.tensor(len(own) * self.ranks / len(documents))
        return batch | {f"{WHOLE}{name}": value for name, value in whole.items()} | {"share": share}


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
