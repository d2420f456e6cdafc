"""Opens a file with the reader that the ending of its name selects: notes one at a time, or a table of columns."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.arrow import DICTIONARY, arrow_columns, read_arrow
from clinlm.files.columns import require_columns, require_header
from clinlm.files.delimited import DelimitedSource, find_separator, read_header, scan_delimited
from clinlm.files.excel import ExcelSource, excel_columns, read_excel
from clinlm.files.json_lines import JsonLinesSource, read_json_lines, seen_keys
from clinlm.files.parquet import ParquetSource, parquet_schema, read_parquet, scan_parquet
from clinlm.files.plain_text import check_encoding, encoding_of
from clinlm.files.record import Source
from clinlm.files.shards import KINDS, ending_of, shards

STANDARD = Path("-")
"""Standard input or output."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
ENDINGS = f"{', '.join((*SEPARATORS, *JSON_LINES))} (these also with .gz), .parquet or .xlsx"
TABLES = f"{ENDINGS.removesuffix(' or .xlsx')}, .arrow or .xlsx"

SPLIT = "split"
"""Column of the splits of a dataset that `datasets` saved with them."""

_HEAD_BYTES = 2**20


def open_source(path: Path, text: str, id: str | None, encoding: str | None = None) -> Source:
    """Open a file of notes, or standard input.

    Args:
        path: the file, or `STANDARD` for JSON Lines from standard input.
        text: column with the text.
        id: column with the id, required of every record; None reads `id` where present, else numbers the lines.
        encoding: of text files; None for UTF-8, or what a byte order mark says.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it has an unknown ending, or lacks a column.
    """
    if path == STANDARD:
        return JsonLinesSource(path, text, id, sys.stdin.buffer)
    if not path.is_file():
        raise MissingFileError(
            f"input must be a file, a folder or pattern of files, or -, got {path}, which does not exist; set input "
            "to the file"
        )
    suffix = ending_of(path)
    if suffix in JSON_LINES:
        return JsonLinesSource(path, text, id, encoding=encoding)
    if suffix in SEPARATORS:
        separator = find_separator(path, [text, *([] if id is None else [id])], SEPARATORS[suffix], encoding)
        return DelimitedSource(path, text, id, separator, encoding)
    if suffix == ".parquet":
        return ParquetSource(path, text, id)
    if suffix == ".xlsx":
        return ExcelSource(path, text, id)
    raise DataError(f"input must end in {ENDINGS}, got {path.name}; rename it")


def read_table(
    path: Path,
    columns: Sequence[str],
    lists: Sequence[str] = (),
    nested: Sequence[str] = (),
    encoding: str | None = None,
) -> pl.DataFrame:
    """Read some columns of a table, every value as a string.

    Args:
        path: the file, with an ending of `TABLES`; or several, see `clinlm.files.shards.shards`.
        columns: to read, each once; `split` of a dataset that `datasets` saved with its splits is the split's name.
        lists: those that may hold lists of scalars, and are read as lists of strings if they do.
        nested: those that hold lists of anything, or JSON as text; read as JSON.
        encoding: of text files; None for UTF-8, or what a byte order mark says.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it has an unknown ending or is broken, or a column is missing or has another type.
    """
    frames = []
    for shard in shards(path):
        own = [column for column in columns if not _is_virtual(path, shard, column)]
        frame = _read_shard(shard, own, [one for one in lists if one in own], nested, encoding)
        virtual = [pl.lit(shard.parent.name).alias(column) for column in columns if column not in own]
        frames.append(frame.with_columns(virtual).select(columns))
    frames = _with_lists(frames)
    if any(frame.schema != frames[0].schema for frame in frames):
        raise DataError(
            f"the files of a table must be alike, {path} has lists in some and text in others; write them alike"
        )
    return pl.concat(frames)


def _with_lists(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the frames, in which nulls are lists where a column has lists in another: a shard may have none."""
    lists = {name: dtype for frame in frames for name, dtype in frame.schema.items() if dtype != pl.String}
    return [
        frame.with_columns(
            pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in lists.items()
            if frame.schema[name] == pl.String and frame[name].null_count() == frame.height
        )
        for frame in frames
    ]


def _read_shard(
    path: Path, columns: Sequence[str], lists: Sequence[str], nested: Sequence[str], encoding: str | None
) -> pl.DataFrame:
    suffix = ending_of(path)
    if suffix in SEPARATORS:
        separator = find_separator(path, columns, SEPARATORS[suffix], encoding)
        return scan_delimited(path, columns, separator, encoding).collect(engine="streaming")
    if suffix in JSON_LINES:
        return read_json_lines(path, columns, lists, nested, encoding)
    if suffix == ".parquet":
        return read_parquet(path, columns, lists, nested)
    if suffix == ".arrow":
        return read_arrow(path, columns, lists, nested)
    if suffix == ".xlsx":
        return read_excel(path, columns)
    raise DataError(f"a table must end in {TABLES}, got {path.name}; rename it")


def _is_virtual(root: Path, shard: Path, column: str) -> bool:
    """Return whether a column is the split of a dataset saved with its splits, the name of a file's folder."""
    return column == SPLIT and (root / DICTIONARY).is_file() and SPLIT not in arrow_columns(shard)


def lazy_table(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    """Return some columns of a table, or of the shards of one, as a lazy frame of strings, in the order of the shards.

    Memory holds the kept rows, and of delimited text a block, of Parquet some row groups, of others one shard.

    Args:
        path: see `clinlm.files.shards.shards`.
        columns: as the files write them, in any case; the frame has them as given.

    Raises:
        MissingFileError: there is no file.
        DataError: as `read_table`; also on collecting.
    """
    return pl.concat([_lazy_shard(shard, columns) for shard in shards(path)])


def table_columns(path: Path) -> list[str]:
    """Return the columns of a table, or of the first of its shards; of JSON, those of its first object."""
    first = shards(path)[0]
    suffix = ending_of(first)
    if suffix in SEPARATORS:
        return read_header(first, find_separator(first, [], SEPARATORS[suffix]))
    if suffix == ".parquet":
        return list(parquet_schema(first))
    if suffix == ".arrow":
        return arrow_columns(first)
    return excel_columns(first)[0] if suffix == ".xlsx" else seen_keys(first, [])[0]


def _lazy_shard(path: Path, columns: Sequence[str]) -> pl.LazyFrame:
    actual = {name.lower(): name for name in table_columns(path)}
    chosen = [actual.get(column.lower(), column) for column in columns]
    suffix = ending_of(path)
    if suffix in SEPARATORS:
        frame = scan_delimited(path, chosen, find_separator(path, chosen, SEPARATORS[suffix]))
    elif suffix == ".parquet":
        frame = scan_parquet(path, chosen)
    else:
        frame = read_table(path, chosen).lazy()
    return frame.rename(dict(zip(chosen, columns, strict=True)))


def table_notices(path: Path, columns: Sequence[str], encoding: str | None = None) -> list[str]:
    """Return what is unusual about the form of a table: its separator, its encoding, its sheets."""
    return list(dict.fromkeys(notice for shard in shards(path) for notice in _shard_notices(shard, columns, encoding)))


def _shard_notices(path: Path, columns: Sequence[str], encoding: str | None) -> list[str]:
    suffix, notices = ending_of(path), []
    if (
        suffix in SEPARATORS
        and (found := find_separator(path, columns, SEPARATORS[suffix], encoding)) != SEPARATORS[suffix]
    ):
        notices.append(f"the columns of {path.name} are separated by {found!r}")
    if suffix in (*SEPARATORS, *JSON_LINES) and (named := encoding_of(path, encoding)) is not None:
        notices.append(f"{path.name} is read as {named}" + ("" if encoding else ", which its byte order mark names"))
    if suffix == ".xlsx":
        notices += excel_columns(path)[1]
    return notices


def check_columns(path: Path, columns: Sequence[str], encoding: str | None = None) -> None:
    """Check that a table has some columns (of JSON Lines, those of the first megabytes) and that its beginning is text.

    Raises:
        DataError: a column is missing.
    """
    for shard in shards(path):
        _check_shard(shard, [column for column in columns if not _is_virtual(path, shard, column)], encoding)


def _check_shard(path: Path, columns: Sequence[str], encoding: str | None) -> None:
    suffix = ending_of(path)
    if suffix in (*SEPARATORS, *JSON_LINES):
        check_encoding(path, encoding)
    if suffix in SEPARATORS:
        separator = find_separator(path, columns, SEPARATORS[suffix], encoding)
        require_header(path, read_header(path, separator, encoding), columns)
    elif suffix == ".parquet":
        require_columns(path, list(parquet_schema(path)), columns)
    elif suffix == ".arrow":
        require_columns(path, arrow_columns(path), columns)
    elif suffix == ".xlsx":
        require_header(path, excel_columns(path)[0], columns)
    elif suffix in JSON_LINES:
        keys, complete = seen_keys(path, columns, encoding)
        if complete and keys:
            require_columns(path, keys, columns)


def file_identity(path: Path) -> dict[str, Any]:
    """Return what identifies a file cheaply: its size, modification time, and a digest of its first MiB."""
    facts = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return {"bytes": facts.st_size, "changed_ns": facts.st_mtime_ns, "head": head}


def file_kind(path: Path) -> str:
    """Return the ending that says how a table is read, without .gz.

    Raises:
        MissingFileError: the file does not exist.
        DataError: no reader knows the ending.
    """
    if not path.is_file():
        raise MissingFileError(f"input must be a file, got {path}, which does not exist; set input to the file")
    suffix = ending_of(path)
    if not is_table(path):
        raise DataError(f"a table must end in {TABLES}, got {path.name}; rename it")
    return suffix


def is_table(path: Path) -> bool:
    """Return whether the ending of a name is that of a table."""
    return ending_of(path) in KINDS
