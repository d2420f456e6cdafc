"""Rows of a user's table, of whatever format, and the rules by which they become documents."""

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from clinlm.files import delimited, json_lines

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""The file endings of delimited text, and what separates their cells."""

ROW = "\x00row"
"""The column with the numbers of the data rows, from 1; no user's column has that name."""

_SHOWN = 5


def read(path: Path, columns: Sequence[str], lists: Sequence[str] = (), nested: Sequence[str] = ()) -> pl.DataFrame:
    """The given columns and `ROW`; every value as text, those of `lists` as lists of text, those of `nested` as JSON.

    Args:
        path: .csv, .tsv, .jsonl (these also with .gz) or .parquet.
        columns: to read, each once.
        lists: those that hold lists of scalars; delimited text has none.
        nested: those that hold lists of anything, or JSON as text.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: it is of another format or broken, a column is missing or holds something else.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind in SEPARATORS:
        if lists:
            raise ValueError(f"{path.name} cannot hold lists; labels is one column; set delimiter, such as ';'")
        rows = delimited.scan(path, columns, SEPARATORS[kind]).collect(engine="streaming")
    elif kind == ".jsonl":
        rows = json_lines.read(path, columns, lists, nested)
    elif kind == ".parquet" and path.suffix == kind:
        rows = _parquet(path, columns, lists, nested)
    else:
        raise ValueError(f"a table ends in .csv, .tsv, .jsonl (or these with .gz) or .parquet; {path.name} came")
    return rows.with_row_index(ROW, offset=1)


def written(path: Path, rows: pl.DataFrame, text: str) -> pl.DataFrame:
    """The rows whose column `text` has more than white space.

    Raises:
        ValueError: there is none.
    """
    kept = rows.filter(pl.col(text).str.contains(r"\S"))
    if not kept.height:
        raise ValueError(f"a corpus needs a note; none of the {rows.height:,} rows of {path.name} has text")
    return kept


def named(path: Path, rows: pl.DataFrame, id: str | None, group: str | None) -> list[pl.Expr]:
    """The columns `id` and `group` of documents: the user's, the id for the group, or the row's number for the id.

    Raises:
        ValueError: one is empty in some row.
    """
    for column in (id, group):
        if column is not None:
            require(path, rows, pl.col(column).str.contains(r"\S").fill_null(False), column, "a value on every row")
    name = pl.col(ROW).cast(pl.String) if id is None else pl.col(id)
    return [name.alias("id"), (name if group is None else pl.col(group)).alias("group")]


def carried(attributes: Sequence[str]) -> pl.Expr:
    """The column `attributes`: a struct of the columns named, empty values null; without any, the one field `none`."""
    if not attributes:
        return pl.struct(pl.lit(None, dtype=pl.String).alias("none")).alias("attributes")
    filled = [pl.when(pl.col(c).str.contains(r"\S")).then(pl.col(c)).alias(c) for c in attributes]
    return pl.struct(filled).alias("attributes")


def distinct(path: Path, documents: pl.DataFrame) -> pl.DataFrame:
    """The documents, of those that are equal in everything but `ROW` the first.

    Raises:
        ValueError: an id is left twice.
    """
    kept = documents.unique([c for c in documents.columns if c != ROW], keep="first", maintain_order=True)
    twice = kept.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True).to_list()
    if twice:
        raise ValueError(
            f"an id names one document; {len(twice):,} ids of {path.name} stand on rows that differ in text, "
            f"labels, group or attributes (first: {', '.join(twice[:_SHOWN])}); merge these rows, or set id to null"
        )
    return kept


def require(path: Path, rows: pl.DataFrame, law: pl.Expr, column: str, needed: str) -> None:
    """Raise a ValueError that lists the first rows for which `law` is false, unless it holds for all."""
    broken(path, rows.filter(~law)[ROW].to_list(), column, needed)


def broken(path: Path, rows: Sequence[int], column: str, needed: str) -> None:
    """Raise a ValueError that lists the first of these rows, unless there are none."""
    if rows:
        raise ValueError(
            f"the column {column!r} needs {needed}; {path.name} has {len(rows):,} rows with something else "
            f"(first data rows: {', '.join(map(str, rows[:_SHOWN]))}); repair them or set another column"
        )


def _parquet(path: Path, columns: Sequence[str], lists: Sequence[str], nested: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"a corpus reads a file; there is none at {path}; set root to the file")
    try:
        schema = pl.read_parquet_schema(path)
        delimited.require(path, list(schema), columns)
        frame = pl.read_parquet(path, columns=list(columns))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path} cannot be read as Parquet ({type(error).__name__}); write it again") from None
    for column in (column for column in columns if column not in nested):
        found = schema[column]
        inner = found.inner if isinstance(found, pl.List) else found
        if isinstance(found, pl.List) != (column in lists) or inner.is_nested() or inner in (pl.Binary, pl.Object):
            wanted = "a list of labels" if column in lists else "one value a row"
            raise ValueError(
                f"the column {column!r} needs {wanted}; {path.name} has {found}; set another, or delimiter for labels"
            )
    plain = [pl.col(c).cast(pl.List(pl.String) if c in lists else pl.String) for c in columns if c not in nested]
    return frame.select(*plain, *(_as_json(path, frame[column]) for column in nested)).select(columns)


def _as_json(path: Path, values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        return values
    try:
        told = [None if value is None else json.dumps(value) for value in values.to_list()]
    except TypeError:
        raise ValueError(
            f"the column {values.name!r} needs lists of numbers and text; {path.name} has {values.dtype}; set another"
        ) from None
    return pl.Series(values.name, told, dtype=pl.String)
