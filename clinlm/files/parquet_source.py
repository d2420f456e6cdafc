"""Notes in Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import final

import polars as pl

from clinlm.files import delimited
from clinlm.files.record import Place, Record
from clinlm.files.source import Source

_ROWS = 1024


@final
class ParquetSource(Source):
    """One note a row; rows count as lines. Memory holds some of the file's row groups, as polars reads them.

    Args:
        path: of the file.
        text: column of the text, of type String.
        id: column of the id, which every row must have; None takes `id` if there is one. Written as text.

    Raises:
        ValueError: it is no Parquet file, lacks a column, or the column has another type.
    """

    def __init__(self, path: Path, text: str, id: str | None) -> None:
        self.path, self.needs_id = path, id is not None
        try:
            schema = pl.read_parquet_schema(path)
        except pl.exceptions.PolarsError:
            raise ValueError(
                f"a .parquet file is one; {path} cannot be read as Parquet; copy it again, or rename it"
            ) from None
        delimited.require(path, list(schema), [text], "set text to the column with the note")
        if id is not None:
            delimited.require(path, list(schema), [id], "set id to the column with the id")
        if schema[text] not in (pl.String, pl.Categorical, pl.Null):
            raise ValueError(
                f"the text of a note is a string; column {text!r} of {path.name} is {schema[text]}; set text to another"
            )
        self._columns = [pl.col(text).cast(pl.String).alias("text")]
        name = id or "id"
        if name in schema:
            self._columns.append(pl.col(name).cast(pl.String).alias("id"))
        self.total = int(pl.scan_parquet(path).select(pl.len()).collect().item())

    def records(self, start: Place) -> Iterator[Record]:
        """See `Source.records`."""
        row = start.offset
        rows = pl.scan_parquet(self.path).slice(row).select(self._columns)
        for frame in rows.collect_batches(chunk_size=_ROWS, maintain_order=True):
            ids = frame["id"] if "id" in frame.columns else [None] * frame.height
            for text, id in zip(frame["text"], ids, strict=True):
                row += 1
                yield Record.of(row, id, text, Place(row, row), self.needs_id)
