"""Parquet files: notes one at a time, or columns as a frame."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import polars as pl
from polars.io.plugins import register_io_source

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.columns import require_columns
from clinlm.files.parquet_pages import check_pages
from clinlm.files.record import Position, Record, Source

_ROWS = 1024
_SLICE = 2**14
"""Rows of a lazy frame in memory at once: batches of the engine would be read ahead of what uses them."""


@final
class ParquetSource(Source):
    """Notes in Parquet, one a row; rows count as lines. Memory holds some row groups of the file.

    Args:
        text: column of the text, of type String.
        id: column of the id, required of every row; None reads `id` where present. Written as text.

    Raises:
        DataError: the file is not Parquet, lacks a column, or the column has another type.
    """

    def __init__(self, path: Path, text: str, id: str | None) -> None:
        self.path, self.needs_id = path, id is not None
        schema = parquet_schema(path)
        require_columns(path, list(schema), [text], "set text to the column with the note")
        if id is not None:
            require_columns(path, list(schema), [id], "set id to the column with the id")
        if schema[text] not in (pl.String, pl.Categorical, pl.Enum, pl.Null, pl.Binary):
            raise DataError(
                f"text must be a column of strings, got {schema[text]} for column {text!r} of {path.name}; set text to "
                "another column"
            )
        self._columns = [_as_text(text, schema[text]).alias("text")]
        name = id or "id"
        if name in schema and not schema[name].is_nested():
            self._columns.append(_as_text(name, schema[name]).alias("id"))
        elif id is not None:
            raise DataError(f"id must hold one value a row, got {schema[name]} in {path.name}; set another column")
        self.total = parquet_rows(path)

    def records(self, start: Position) -> Iterator[Record]:
        row = start.offset
        rows = pl.scan_parquet(self.path).slice(row).select(self._columns)
        frames = rows.collect_batches(chunk_size=_ROWS, maintain_order=True)
        while True:
            with _reading(self.path):
                frame = next(frames, None)
            if frame is None:
                return
            ids = frame["id"] if "id" in frame.columns else [None] * frame.height
            for text, id in zip(frame["text"], ids, strict=True):
                row += 1
                yield Record.checked(row, _decoded(id), _decoded(text), Position(row, row), self.needs_id)


def read_parquet(path: Path, columns: Sequence[str], lists: Sequence[str], nested: Sequence[str]) -> pl.DataFrame:
    """Read columns of a Parquet file as strings; see `clinlm.files.sources.read_table`."""
    require_columns(path, list(parquet_schema(path)), columns)
    with _reading(path):
        frame = pl.read_parquet(path, columns=list(columns))
    return typed_as_text(path, frame, lists, nested)


def typed_as_text(path: Path, frame: pl.DataFrame, lists: Sequence[str], nested: Sequence[str]) -> pl.DataFrame:
    """Return a frame of any types as strings.

    Args:
        path: of the file, for messages.
        lists: columns that may hold lists of scalars.
        nested: columns that hold lists of anything, written as JSON.

    Raises:
        DataError: another column holds several values a row, or bytes are not UTF-8.
    """
    schema, columns = frame.schema, frame.columns
    plain = [column for column in columns if column not in nested]
    strings = []
    for column in plain:
        dtype = schema[column]
        inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
        if (inner is not dtype and column not in lists) or inner.is_nested() or inner == pl.Object:
            wanted = "hold labels or lists of labels" if column in lists else "hold one value a row"
            raise DataError(
                f"the column {column!r} must {wanted}, got {dtype} in {path.name}; set another column, or delimiter "
                "for labels"
            )
        strings.append(pl.col(column).cast(pl.String if inner is dtype else pl.List(pl.String)))
    try:
        texts = frame.select(strings)
    except pl.exceptions.PolarsError:  # its message quotes cells
        found = ", ".join(f"{column!r}: {schema[column]}" for column in plain)
        raise DataError(
            f"bytes must be text in UTF-8, got others in a column of {path.name} ({found}); write text"
        ) from None
    return texts.with_columns(_as_json(path, frame[column]) for column in nested).select(columns)


def scan_parquet(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Return columns of a Parquet file as a lazy frame of strings; memory holds the kept rows and some row groups.

    Raises:
        MissingFileError: the file does not exist.
        DataError: at once, if it is not Parquet, lacks a column, or a column holds several values a row; on collecting,
            if it is broken further on.
    """
    schema = parquet_schema(path)
    require_columns(path, list(schema), columns)
    several = [column for column in columns if schema[column].is_nested() or schema[column] == pl.Object]
    if several:
        raise DataError(
            f"the column {several[0]!r} must hold one value a row, got {schema[several[0]]} in {path.name}; set another"
        )
    texts = [pl.col(column).cast(pl.String) for column in columns]

    def groups(
        wanted: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        total = parquet_rows(path) if rows is None else min(rows, parquet_rows(path))
        for start in range(0, total, _SLICE):
            with _reading(path):
                frame = pl.scan_parquet(path).slice(start, min(_SLICE, total - start)).select(texts).collect()
            kept = frame if predicate is None else frame.filter(predicate)
            yield kept if wanted is None else kept.select(wanted)

    return register_io_source(groups, schema=dict.fromkeys(columns, pl.String()), validate_schema=True)


def _as_text(column: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(column) if dtype == pl.Binary else pl.col(column).cast(pl.String)


def _decoded(value: str | bytes | None) -> str | bytes | None:
    """Return bytes as text; as they are, to be rejected, where they are none."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def parquet_schema(path: Path) -> dict[str, pl.DataType]:
    """Return the columns of a Parquet file and their types; what reads a file asks for them first."""
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    check_pages(path)
    with _reading(path):
        return dict(pl.read_parquet_schema(path))


def parquet_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file."""
    with _reading(path):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def parquet_head(path: Path, rows: int) -> pl.DataFrame:
    """Return the first rows of a Parquet file, with all columns."""
    parquet_schema(path)  # raises where there is no file
    with _reading(path):
        return pl.read_parquet(path, n_rows=rows)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what polars says of a broken file into a DataError: its parser panics on some, which is no `Exception`."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"a .parquet file must be Parquet, got {path}, which cannot be read ({type(error).__name__}); copy it "
            "again, or rename it"
        ) from None


def _as_json(path: Path, values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return values
    try:
        texts = [None if value is None else json.dumps(value) for value in values.to_list()]
    except TypeError:
        raise DataError(
            f"the column {values.name!r} must hold lists of numbers and text, got {values.dtype} in {path.name}; set "
            "another column"
        ) from None
    return pl.Series(values.name, texts, dtype=pl.String)
