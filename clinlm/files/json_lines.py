"""JSON Lines (plain or gzip) read strictly: one object a line, every error with its line and without its content."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from clinlm.files import delimited

_SURROGATE = re.compile("[\ud800-\udfff]")


def read(path: Path, columns: Sequence[str], lists: Sequence[str] = (), nested: Sequence[str] = ()) -> pl.DataFrame:
    """Some keys of the objects of a JSON Lines file as columns of strings.

    A key that a line lacks, `null`, and the NaN that pandas writes are null. Numbers stay as the file writes them,
    booleans are `true` and `false`. Blank lines are skipped. Held in memory: the values of `columns`, and one block.

    Args:
        path: the file; gzip is recognised by its first bytes.
        columns: the keys to read; one that no line has is an error.
        lists: those of `columns` whose values are lists of scalars, read as lists of strings.
        nested: those whose values are lists of anything, read as JSON with its numbers as strings; strings stay.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: bytes are not UTF-8, a line is not a JSON object, a value has another shape than asked for, the file
            has no object, or a column stands on no line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"a corpus reads a file; there is none at {path}; set root to the file")
    values: dict[str, list[str | list[str | None] | None]] = {column: [] for column in columns}
    seen: dict[str, None] = {}
    for line, item in _objects(path):
        seen.update(dict.fromkeys(item))
        for column in columns:
            value = item.get(column)
            if column in nested and isinstance(value, list):
                values[column].append(json.dumps(value))
            elif column in lists and value is not None:
                values[column].append(_list(value, f"{path.name} line {line:,}, key {column!r}"))
            else:
                values[column].append(_scalar(value, f"{path.name} line {line:,}, key {column!r}"))
    if not seen:
        raise ValueError(f"a table needs rows; {path} has no JSON object with a key; check the file")
    delimited.require(path, list(seen), columns)
    schema = {c: pl.List(pl.String()) if c in lists else pl.String() for c in columns}
    return pl.DataFrame(values, schema=schema)


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for line, data in enumerate(_lines(path), start=1):
        if not data.strip():
            continue
        try:
            item = json.loads(data.decode(), parse_float=str, parse_int=str, parse_constant=lambda _name: None)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"text must be UTF-8; {path.name} line {line:,} has the byte 0x{data[error.start]:02x}; convert the "
                "file, for instance with iconv"
            ) from None
        except json.JSONDecodeError as error:
            raise ValueError(
                f"a line of JSON Lines is one object; {path.name} line {line:,} breaks off at character {error.pos:,}; "
                "write every object on one line"
            ) from None
        if not isinstance(item, dict):
            raise ValueError(f"a line of JSON Lines is one object; {path.name} line {line:,} is none; write {{...}}")
        yield line, item


def _lines(path: Path) -> Iterator[bytes]:
    carry, done = b"", 0
    for block in delimited.chunks(path, delimited.BLOCK_BYTES):
        if not done and not carry:
            block = block.removeprefix(b"\xef\xbb\xbf")
        if len(carry) > delimited.RECORD_BYTES_LIMIT:
            raise ValueError(
                f"a line of JSON Lines is one object; {path.name} line {done + 1:,} is longer than "
                f"{delimited.RECORD_BYTES_LIMIT:,} bytes; write every object on a line of its own"
            )
        first, *rest = block.split(b"\n")
        if rest:
            yield carry + first
            yield from rest[:-1]
            carry, done = rest[-1], done + len(rest)
        else:
            carry += first
    if carry:
        yield carry


def _scalar(value: object, place: str) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        if value is not None and _SURROGATE.search(value):
            raise ValueError(f"{place}: text must be Unicode, and half a surrogate pair came; repair its escapes")
        return value
    raise ValueError(f"{place}: a string, number, boolean or null is needed, and a {type(value).__name__} came")


def _list(value: object, place: str) -> list[str | None]:
    if not isinstance(value, list):
        raise ValueError(f"{place}: a list is needed, and other JSON came; set delimiter if the labels are one string")
    return [_scalar(item, place) for item in value]
