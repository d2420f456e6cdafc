"""The documents of a task, chosen and split, and their targets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import polars as pl
from jaxtyping import Bool, Int
from safetensors import safe_open
from safetensors.numpy import save_file

from clinlm.config.errors import DataError
from clinlm.corpora.split import SPLITS
from clinlm.store.content import write_json


@dataclass(frozen=True)
class Examples:
    """The documents of a task, chosen and split.

    A unit is one prediction target: a document, or a word where `unit_start` is set.

    Attributes:
        frame: one row a document: `id`, `group`, `text`, `split` (one of SPLITS) and the `attributes` of the corpus.
        targets: one row a unit.
        labels: names of the columns of `targets`.
        notices: counted warnings, for the report.
        facts: numbers that describe the choice, for the report.
        unit_start: the first row of `targets` of each document, and the end as the last entry; None where units are
            documents.
    """

    frame: pl.DataFrame = field(repr=False)  # a repr must not show notes
    targets: Bool[np.ndarray, "units labels"]
    labels: tuple[str, ...]
    notices: tuple[str, ...]
    facts: Mapping[str, Any]
    unit_start: Int[np.ndarray, " documents_and_end"] | None = None

    def members(self, split: str) -> Int[np.ndarray, " members"]:
        """Return the numbers of the documents of one split, ascending; of all of them for `EVERY`."""
        if split == EVERY:
            return np.arange(len(self.frame))
        return np.flatnonzero((self.frame["split"] == split).to_numpy())

    def units(self, split: str) -> Int[np.ndarray, " units"]:
        """Return the numbers of the units of one split: rows of `targets`, ascending."""
        return units_of(self.unit_start, self.members(split))

    def drawn(self) -> Self:
        """Return these examples, whose split was drawn by shares and not given by the corpus.

        Raises:
            DataError: a split has fewer than `FEWEST` documents: nothing can be measured on it.
        """
        self._check_splits(FEWEST)
        return self

    def _check_splits(self, fewest: int) -> None:
        counts = {split: len(self.members(split)) for split in SPLITS}
        if min(counts.values()) < fewest:
            got = ", ".join(f"{count:,} in {split}" for split, count in counts.items())
            raise DataError(
                f"every split must have at least {fewest} documents, got {got}, of {len(self.frame):,} in all; read "
                "more documents (a few hundred are little), or set task.shares"
            )

    FILES: ClassVar = ("documents.parquet", "targets.safetensors", "examples.json")

    def save(self, folder: Path) -> None:
        """Write documents.parquet, targets.safetensors and examples.json into `folder`.

        Raises:
            DataError: a split has no document; those of a corpus that is only tested on are all in `test`.
        """
        if set(self.frame["split"]) != {"test"}:
            self._check_splits(1)
        self.frame.write_parquet(folder / "documents.parquet", row_group_size=_ROWS)
        arrays = {"targets": self.targets}
        save_file(arrays | ({} if self.unit_start is None else {"unit_start": self.unit_start}), folder / _TARGETS)
        content = {"labels": self.labels, "notices": self.notices, "facts": self.facts}
        write_json(folder / "examples.json", content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what `save` wrote."""
        content = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
        with safe_open(folder / _TARGETS, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        frame, unit_start = pl.read_parquet(folder / "documents.parquet"), arrays.get("unit_start")
        labels, notices = tuple(content["labels"]), tuple(content["notices"])
        return cls(frame, arrays["targets"], labels, notices, content["facts"], unit_start)


FEWEST: Final = 2
"""Documents of every split that is drawn, at least: of one, no interval says anything."""

EVERY: Final = "every"
"""All splits together, for a corpus that is only tested on."""

_TARGETS = "targets.safetensors"
_ROWS = 4096
"""Documents that are encoded at once: all together would be a second copy of their texts."""


def units_of(
    unit_start: Int[np.ndarray, " documents_and_end"] | None, documents: Int[np.ndarray, " chosen"]
) -> Int[np.ndarray, " units"]:
    """Return the numbers of the units of `documents`, document by document; without `unit_start`, `documents`."""
    if unit_start is None:
        return documents
    first, count = unit_start[documents], np.diff(unit_start)[documents]
    before = np.cumsum(count) - count
    return np.repeat(first - before, count) + np.arange(int(count.sum()))
