"""JSON Lines, plain or gzip: one object a line, errors name the line and never quote it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, final

import polars as pl

from clinlm.config.errors import DataError
from clinlm.files.columns import require_columns
from clinlm.files.plain_text import LINE_BYTES_LIMIT, open_bytes, physical_lines
from clinlm.files.record import RECORD_BYTES, Number, Position, Record, Source, has_surrogate

_HEAD_BYTES = 32 * 2**20
"""Read in about a second to find the keys of the objects."""


class _Line(NamedTuple):
    """A line that is not blank: its object, or the reason why it has none."""

    item: dict[str, Any] | None
    reason: str
    after: Position


@final
class JsonLinesSource(Source):
    """Notes in JSON Lines, from a file or standard input. Blank lines are skipped.

    Args:
        path: the file; gzip is recognised by its first bytes.
        text: key of the text.
        id: key of the id, required of every record; None reads `id` where present.
        stream: standard input, read instead of `path`.
    """

    def __init__(self, path: Path, text: str, id: str | None, stream: IO[bytes] | None = None) -> None:
        self.path, self.text, self.id, self.stream = path, text, id, stream
        if stream is None and not path.name.endswith(".gz"):
            self.total = path.stat().st_size

    def records(self, start: Position) -> Iterator[Record]:
        if self.stream is not None:
            yield from map(self._record, _objects(self.stream, self.path, start, RECORD_BYTES))
            return
        with open_bytes(self.path) as file:
            file.seek(start.offset)
            yield from map(self._record, _objects(file, self.path, start, RECORD_BYTES))

    def _record(self, line: _Line) -> Record:
        number = line.after.line
        if line.item is None:
            return Record.rejected(number, line.reason, line.after)
        id = line.item.get(self.id or "id")
        id = ("false", "true")[id] if isinstance(id, bool) else id
        return Record.checked(number, id, line.item.get(self.text), line.after, self.id is not None)


def read_json_lines(
    path: Path, columns: Sequence[str], lists: Sequence[str] = (), nested: Sequence[str] = ()
) -> pl.DataFrame:
    """Read some keys of the objects of a JSON Lines file as columns of strings.

    A missing key, `null`, and the NaN that pandas writes are null. Numbers stay as the file writes them, booleans are
    `true` and `false`. Blank lines are skipped. Memory holds the values of `columns` and one line.

    Args:
        path: the file; gzip is recognised by its first bytes.
        columns: the keys to read; each must be on some line.
        lists: those of `columns` whose values are lists of scalars, read as lists of strings.
        nested: those whose values are lists of anything, read as JSON with numbers as strings; strings stay.

    Raises:
        MissingFileError: the file does not exist.
        DataError: bytes are not UTF-8, a line is not a JSON object, a value has another shape, the file has no object,
            or a column is on no line.
    """
    values: dict[str, list[str | list[str | None] | None]] = {column: [] for column in columns}
    seen: dict[str, None] = {}
    with open_bytes(path) as file:
        for line in _objects(file, path, Position(), LINE_BYTES_LIMIT):
            place = f"{path.name} line {line.after.line:,}"
            if line.item is None:
                raise _broken(path, line)
            seen.update(dict.fromkeys(line.item))
            for column in columns:
                value = line.item.get(column)
                if column in nested and isinstance(value, list):
                    values[column].append(json.dumps(value))
                elif column in lists and value is not None:
                    values[column].append(_list(value, f"{place}, key {column!r}"))
                else:
                    values[column].append(_scalar(value, f"{place}, key {column!r}"))
    if not seen:
        raise DataError(f"a table must have rows, got {path} without any JSON object; check the file")
    require_columns(path, list(seen), columns)
    schema = {c: pl.List(pl.String()) if c in lists else pl.String() for c in columns}
    return pl.DataFrame(values, schema=schema)


def seen_keys(path: Path, wanted: Sequence[str]) -> tuple[list[str], bool]:
    """Return keys of the objects of a JSON Lines file, and whether `wanted` can be judged by them.

    Reads until every wanted key has come, or the end, or `_HEAD_BYTES`; a later line may have a key that came in none
    of those before. Lines that are not JSON objects are left to the reader of the whole file.
    """
    seen: dict[str, None] = {}
    with open_bytes(path) as file:
        for line in _objects(file, path, Position(), LINE_BYTES_LIMIT):
            seen.update(dict.fromkeys(line.item or ()))
            if set(wanted) <= seen.keys():
                return list(seen), True
            if line.after.offset > _HEAD_BYTES:
                return list(seen), False
    return list(seen), True


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file.

    Raises:
        MissingFileError: the file does not exist.
        DataError: a line is not a JSON object in UTF-8.
    """
    with open_bytes(path) as file:
        for line in _objects(file, path, Position(), LINE_BYTES_LIMIT):
            if line.item is None:
                raise _broken(path, line)
            yield line.item


def _broken(path: Path, line: _Line) -> DataError:
    return DataError(
        f"every line must be a JSON object in UTF-8, got {path.name} line {line.after.line:,}: {line.reason}; repair it"
    )


def _objects(stream: IO[bytes], path: Path, start: Position, limit: int) -> Iterator[_Line]:
    for line in physical_lines(stream, path.name, start.offset, start.line, limit):
        after = Position(line.end, line.number)
        if line.data is None:
            yield _Line(None, f"the line is longer than {limit:,} bytes", after)
        elif line.data.strip():
            yield _parsed(line.data, after)


def _parsed(data: bytes, after: Position) -> _Line:
    try:
        item = json.loads(data.decode(), parse_int=Number, parse_float=Number, parse_constant=lambda _name: None)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1:,} of the line"
    except json.JSONDecodeError as error:
        reason = f"not JSON: invalid at character {error.pos + 1:,}"
    except RecursionError:
        reason = "not readable JSON: nested too deep"
    else:
        if isinstance(item, dict):
            return _Line(item, "", after)
        reason = f"not a JSON object but a {type(item).__name__}"
    return _Line(None, reason, after)


def _scalar(value: object, place: str) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        if value is not None and has_surrogate(value):
            raise DataError(f"text must be Unicode, got half a surrogate pair in {place}; repair its escapes")
        return value
    raise DataError(
        f"the value must be a string, number, boolean or null, got a {type(value).__name__} in {place}; set another key"
    )


def _list(value: object, place: str) -> list[str | None]:
    if not isinstance(value, list):
        raise DataError(
            f"the value must be a list, got a {type(value).__name__} in {place}; set delimiter if the labels are one "
            "string"
        )
    return [_scalar(item, place) for item in value]
