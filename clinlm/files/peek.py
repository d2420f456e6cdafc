"""The first rows of a table with all its columns, as a reader sees them who does not know the file yet."""

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

import polars as pl

from clinlm.files.arrow import arrow_head
from clinlm.files.delimited import find_separator, read_header, scan_delimited
from clinlm.files.excel import excel_columns, read_excel
from clinlm.files.json_lines import read_objects
from clinlm.files.parquet import parquet_head
from clinlm.files.plain_text import checked_read, encoding_of, open_bytes
from clinlm.files.sources import JSON_LINES, SEPARATORS, file_kind

_HEAD_BYTES: Final = 4 * 2**20
_OLD: Final = "cp1252"
"""What text is that is not UTF-8 and has no byte order mark: Windows' and Excel's."""

_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@final
@dataclass(frozen=True)
class Peek:
    """The beginning of a table.

    Attributes:
        frame: text, lists of text, and anything deeper as JSON in text.
        form: the format, in words.
        encoding: to be set, as the file does not name it; None for none.
        named: whether the format names its columns; else the first line of the file does, or is a record.
    """

    frame: pl.DataFrame = field(repr=False)
    form: str
    encoding: str | None
    named: bool


def peek_table(path: Path, rows: int, columns: Sequence[str] = ()) -> Peek:
    """Return the first rows of a table.

    Args:
        columns: some that it has, if they are known; they tell the separator.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it has an unknown ending or is broken.
    """
    kind = file_kind(path)
    if kind == ".parquet":
        frame = parquet_head(path, rows)
        return Peek(
            pl.DataFrame([_column(name, frame[name].to_list()) for name in frame.columns]), "Parquet", None, True
        )
    if kind == ".arrow":
        frame = arrow_head(path, rows)
        return Peek(pl.DataFrame([_column(name, frame[name].to_list()) for name in frame.columns]), "Arrow", None, True)
    if kind == ".xlsx":
        names, notices = excel_columns(path)
        return Peek(read_excel(path, names).head(rows), "; ".join(["Excel", *notices]), None, False)
    encoding = _encoding(path)
    named = encoding_of(path, encoding) or "UTF-8"
    if kind in JSON_LINES:
        objects = list(islice(read_objects(path, encoding), rows))
        names = list(dict.fromkeys(name for item in objects for name in item))
        found = pl.DataFrame([_column(name, [item.get(name) for item in objects]) for name in names])
        return Peek(found, f"JSON, {named}", encoding, True)
    separator = find_separator(path, columns, SEPARATORS[kind], encoding)
    names = read_header(path, separator, encoding)
    found = scan_delimited(path, names, separator, encoding).head(rows).collect(engine="streaming")
    return Peek(found, f"text separated by {_NAMES.get(separator, repr(separator))}, {named}", encoding, False)


def _encoding(path: Path) -> str | None:
    """Return the encoding to set for a text: None for UTF-8 and where a byte order mark names it."""
    if encoding_of(path) is not None:
        return None
    with open_bytes(path) as file:
        head = checked_read(file.read, _HEAD_BYTES, path.name)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return _OLD
    return None


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
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value).lower() if isinstance(value, bool) else str(value)
