"""The tables of an OMOP CDM: files of a folder, or a database."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, final

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.corpora.base import digest_files
from clinlm.files.columns import shown
from clinlm.files.database import Database
from clinlm.files.shards import KINDS, shards
from clinlm.files.sources import lazy_table, table_columns

Step = Callable[[pl.LazyFrame], pl.LazyFrame]
"""What is done with every batch of a table: filters, and columns that are cut."""

_MODULUS: Final = 2**256

_OWN: Final = pl.col(pl.String) + pl.lit("")
"""Kept strings are views into their whole batch; copying them lets the batch go."""


class OmopTables(ABC):
    """Reads tables by their names in lower case. Subclasses are final."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """Return the columns of a table in lower case; none if it is not there."""

    @abstractmethod
    def read(self, table: str, columns: Sequence[str], step: Step) -> pl.DataFrame:
        """Return what `step` leaves of columns of a table, as strings; memory holds that and a batch."""

    @abstractmethod
    def digest(self, tables: Mapping[str, Sequence[str]]) -> str:
        """Return the hex sha256 of what decides these columns of these tables."""

    @final
    def require(self, table: str, columns: Sequence[str]) -> None:
        """Raise a DataError unless the table is there and has the columns."""
        there = self.columns(table)
        missing = [column for column in columns if column not in there]
        if missing:
            has = f"has {shown(there)}" if there else "is not there"
            raise DataError(
                f"the table {table} must have {', '.join(missing)}, it {has}; set root, or schema, to an OMOP CDM 5.4"
            )


@final
class OmopFolder(OmopTables):
    """Files TABLE.csv, .csv.gz, .tsv or .parquet of a folder, in any case; or a folder TABLE with shards of one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def columns(self, table: str) -> list[str]:
        path = self._path(table)
        return [] if path is None else [name.lower() for name in table_columns(path)]

    def read(self, table: str, columns: Sequence[str], step: Step) -> pl.DataFrame:
        path = self._path(table)
        if path is None:
            raise MissingFileError(f"root must have the table {table}, {self.root} has none; set root to its folder")
        return step(lazy_table(path, columns)).with_columns(_OWN).collect(engine="streaming")

    def digest(self, tables: Mapping[str, Sequence[str]]) -> str:
        found = [path for path in map(self._path, tables) if path is not None]
        return digest_files([shard for path in found for shard in shards(path)])

    def _path(self, table: str) -> Path | None:
        if not self.root.is_dir():
            raise MissingFileError(
                f"root must be a folder of tables or a .duckdb file, got {self.root}; set root to one"
            )
        names = {f"{table}{kind}{packed}" for kind in KINDS for packed in ("", ".gz")} | {table}
        there = sorted(path for path in self.root.iterdir() if path.name.lower() in names)
        if len(there) > 1:
            raise DataError(
                f"a table must be one file or folder, {self.root} has {' and '.join(path.name for path in there)}; "
                "keep one of them"
            )
        return there[0] if there else None


@final
class OmopDatabase(OmopTables):
    """Tables of a database.

    Args:
        database: of the tables.
        note_query: a SELECT whose answer is read instead of the table NOTE; None for the table.
    """

    def __init__(self, database: Database, note_query: str | None = None) -> None:
        self.database, self.note_query = database, note_query

    def columns(self, table: str) -> list[str]:
        return self.database.columns(table)

    def read(self, table: str, columns: Sequence[str], step: Step) -> pl.DataFrame:
        frames = [step(frame.lazy()).with_columns(_OWN).collect() for frame in self._batches(table, columns)]
        if not frames:
            frames = [step(pl.LazyFrame(schema=dict.fromkeys(columns, pl.String()))).collect()]
        return pl.concat(frames)

    def digest(self, tables: Mapping[str, Sequence[str]]) -> str:
        """Return the digest of the rows, in whatever order the database returns them."""
        found = []
        for table, columns in tables.items():
            total, rows = 0, 0
            for frame in self._batches(table, columns):
                for row in frame.iter_rows():
                    total += int.from_bytes(hashlib.sha256(json.dumps(row).encode()).digest())
                rows += frame.height
            found.append([table, list(columns), rows, f"{total % _MODULUS:x}"])
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()

    def _batches(self, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        return self.database.rows(table, columns, self.note_query if table == "note" else None)
