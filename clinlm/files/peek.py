"""The first rows of a table with all its columns, as a reader sees them who does not know the file yet."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from clinlm.files.delimited import find_separator, read_header, scan_delimited
from clinlm.files.excel import excel_columns, read_excel
from clinlm.files.json_lines import read_objects
from clinlm.files.parquet import parquet_schema
from clinlm.files.sources import SEPARATORS, file_kind


def peek_table(path: Path, rows: int) -> pl.DataFrame:
    """Return the first rows of a table: text, lists of text, and anything deeper as JSON in text.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it has an unknown ending or is broken.
    """
    kind = file_kind(path)
    if kind in SEPARATORS:
        separator = find_separator(path, [], SEPARATORS[kind])
        names = read_header(path, separator)
        return scan_delimited(path, names, separator).head(rows).collect(engine="streaming")
    if kind == ".xlsx":
        return read_excel(path, excel_columns(path)[0]).head(rows)
    if kind == ".parquet":
        parquet_schema(path)  # raises where it is none
        frame = pl.read_parquet(path, n_rows=rows)
        return pl.DataFrame([_column(name, frame[name].to_list()) for name in frame.columns])
    objects = list(islice(read_objects(path), rows))
    names = list(dict.fromkeys(name for item in objects for name in item))
    return pl.DataFrame([_column(name, [item.get(name) for item in objects]) for name in names])


def _column(name: str, values: list[Any]) -> pl.Series:
    """Return values as text, as lists of text if all are lists of plain values, or as text of JSON."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, list) and not any(map(_deep, value)) for value in there):
        lists = [None if value is None else [_text(part) for part in value] for value in values]
        return pl.Series(name, lists, dtype=pl.List(pl.String))
    texts = [json.dumps(value, default=str) if _deep(value) else _text(value) for value in values]
    return pl.Series(name, texts, dtype=pl.String)


def _deep(value: Any) -> bool:
    return isinstance(value, dict | list)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "replace").decode()  # half a surrogate pair
    return str(value).lower() if isinstance(value, bool) else str(value)
