"""JSON, plain or gzip: one object a line, or (in .json) an array of objects; errors name the line, never its text."""

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast, final

import polars as pl

from clinlm.config.errors import DataError
from clinlm.files.columns import require_columns
from clinlm.files.plain_text import BOM, LINE_BYTES_LIMIT, checked_read, encoding_of, open_bytes, physical_lines
from clinlm.files.record import RECORD_BYTES, Number, Position, Record, Source, has_surrogate

_HEAD_BYTES = 32 * 2**20
"""Read in about a second to find the keys of the objects."""


_CHUNK = 2**16
_FILLED = re.compile(r"[^ \t\r\n]")


class _Line(NamedTuple):
    """A line that is not blank (of an array: an item): its object, or the reason why it has none."""

    item: dict[str, Any] | None
    reason: str
    after: Position


@final
class JsonLinesSource(Source):
    """Notes in JSON Lines, from a file or standard input, or in an array of a .json file. Blank lines are skipped.

    Args:
        path: the file; gzip is recognised by its first bytes. The items of an array count as lines.
        text: key of the text.
        id: key of the id, required of every record; None reads `id` where present.
        stream: standard input, read instead of `path`.
        encoding: see `clinlm.files.plain_text.open_bytes`.
    """

    def __init__(
        self,
        path: Path,
        text: str,
        id: str | None,
        stream: IO[bytes] | None = None,
        encoding: str | None = None,
    ) -> None:
        self.path, self.text, self.id, self.stream, self.encoding = path, text, id, stream, encoding
        if stream is None and not path.name.lower().endswith(".gz") and encoding_of(path, encoding) is None:
            self.total = path.stat().st_size

    def records(self, start: Position) -> Iterator[Record]:
        if self.stream is not None:
            yield from map(self._record, _objects(self.stream, self.path, start, RECORD_BYTES))
            return
        yield from map(self._record, _lines(self.path, self.encoding, start, RECORD_BYTES))

    def _record(self, line: _Line) -> Record:
        number = line.after.line
        if line.item is None:
            return Record.rejected(number, line.reason, line.after)
        id = line.item.get(self.id or "id")
        id = ("false", "true")[id] if isinstance(id, bool) else id
        return Record.checked(number, id, line.item.get(self.text), line.after, self.id is not None)


def read_json_lines(
    path: Path,
    columns: Sequence[str],
    lists: Sequence[str] = (),
    nested: Sequence[str] = (),
    encoding: str | None = None,
) -> pl.DataFrame:
    """Read some keys of the objects of a JSON file as columns of strings.

    A missing key, `null`, and the NaN that pandas writes are null. Numbers stay as the file writes them, booleans are
    `true` and `false`. Blank lines are skipped. Memory holds the values of `columns` and one line.

    Args:
        path: the file; gzip is recognised by its first bytes.
        columns: the keys to read; each must be on some line.
        lists: those of `columns` whose values may be lists of scalars; then all are, and are read as lists of strings.
        nested: those whose values are lists of anything, read as JSON with numbers as strings; strings stay.
        encoding: see `clinlm.files.plain_text.open_bytes`.

    Raises:
        MissingFileError: the file does not exist.
        DataError: bytes are not UTF-8, a line is not a JSON object, a value has another shape, the file has no object,
            or a column is on no line.
    """
    values: dict[str, list[str | list[str | None] | None]] = {column: [] for column in columns}
    seen: dict[str, None] = {}
    shapes: dict[str, type] = {}
    for line in _lines(path, encoding, Position(), LINE_BYTES_LIMIT):
        place = f"{path.name} line {line.after.line:,}"
        if line.item is None:
            raise _broken(path, line)
        seen.update(dict.fromkeys(line.item))
        for column in columns:
            value = line.item.get(column)
            if column in nested and isinstance(value, list):
                values[column].append(json.dumps(value))
                continue
            if column in lists and value is not None:
                _check_shape(shapes, column, value, place)
            if column in lists and isinstance(value, list):
                values[column].append([_scalar(item, f"{place}, key {column!r}") for item in value])
            else:
                values[column].append(_scalar(value, f"{place}, key {column!r}"))
    if not seen:
        raise DataError(f"a table must have rows, got {path} without any JSON object; check the file")
    require_columns(path, list(seen), columns)
    schema = {c: pl.List(pl.String()) if shapes.get(c) is list else pl.String() for c in columns}
    return pl.DataFrame(values, schema=schema)


def _check_shape(shapes: dict[str, type], column: str, value: object, place: str) -> None:
    shape = list if isinstance(value, list) else str
    if shapes.setdefault(column, shape) is not shape:
        raise DataError(
            f"the values of a key must all be lists, or all text, got both for {column!r} (first in {place}); repair "
            "them"
        )


def seen_keys(path: Path, wanted: Sequence[str], encoding: str | None = None) -> tuple[list[str], bool]:
    """Return keys of the objects of a JSON file, and whether `wanted` can be judged by them.

    Reads until every wanted key has come, or the end, or `_HEAD_BYTES`; a later line may have a key that came in none
    of those before. Lines that are not JSON objects are left to the reader of the whole file.
    """
    seen: dict[str, None] = {}
    for line in _lines(path, encoding, Position(), LINE_BYTES_LIMIT):
        seen.update(dict.fromkeys(line.item or ()))
        if set(wanted) <= seen.keys():
            return list(seen), True
        if line.after.offset > _HEAD_BYTES:
            return list(seen), False
    return list(seen), True


def read_objects(path: Path, encoding: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON file; see `numbered_objects`."""
    for _, item in numbered_objects(path, encoding):
        yield item


def numbered_objects(path: Path, encoding: str | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line (of an array: the place) of every object of a JSON file, from 1, and the object.

    Raises:
        MissingFileError: the file does not exist.
        DataError: a line is not a JSON object in UTF-8, or a name or text of it holds half a surrogate pair.
    """
    for line in _lines(path, encoding, Position(), LINE_BYTES_LIMIT):
        if line.item is None:
            raise _broken(path, line)
        if _holds_surrogate(line.item):
            raise _broken(path, line._replace(reason="text with half a surrogate pair"))
        yield line.after.line, line.item


def _holds_surrogate(item: object) -> bool:
    """Return whether a name or text at any depth holds half a surrogate pair, written as an escape."""
    left = [item]
    while left:
        own = left.pop()
        if isinstance(own, str):
            if has_surrogate(own):
                return True
        elif isinstance(own, dict):
            left += [*own, *own.values()]
        elif isinstance(own, list):
            left += own
    return False


def _broken(path: Path, line: _Line) -> DataError:
    return DataError(
        f"every line must be a JSON object in UTF-8, got {path.name} line {line.after.line:,}: {line.reason}; repair it"
    )


def _lines(path: Path, encoding: str | None, start: Position, limit: int) -> Iterator[_Line]:
    """Yield the lines of a file, or the items of its array."""
    with open_bytes(path, encoding) as file:
        array = path.name.lower().removesuffix(".gz").endswith(".json") and _is_array(file, path.name)
        file.seek(start.offset)
        yield from (_items if array else _objects)(file, path, start, limit)


def _is_array(stream: IO[bytes], name: str) -> bool:
    head = checked_read(stream.read, len(BOM), name).removeprefix(BOM)
    while not head.strip() and (more := checked_read(stream.read, _CHUNK, name)):
        head += more
    return head.lstrip().startswith(b"[")


def _items(stream: IO[bytes], path: Path, start: Position, limit: int) -> Iterator[_Line]:
    """Yield the objects of an array, in bounded memory.

    Raises:
        DataError: the array is broken, so that nothing after that place can be read.
    """
    array, count, opened = _Array(stream, path.name, start.offset), start.line, start.offset > 0
    while True:
        mark = array.peek()
        if opened and mark == "]":
            array.take(1)
            if array.peek():
                raise DataError(f"an array must end its file, got more after {count:,} items of {path.name}; repair it")
            return
        if mark != ("," if opened else "["):
            raise DataError(
                f"an array must separate its items by commas and end in ], got something else after {count:,} items of "
                f"{path.name}; write it again, or a line per object"
            )
        array.take(1)
        if not opened and array.peek() == "]":
            opened = True
            continue
        item, opened, count = array.item(limit, f"{path.name}, item {count + 1:,}"), True, count + 1
        yield _Line(item, "", Position(array.offset, count))


class _Array:
    """The text of a stream of JSON from byte `offset` on, read as it is needed."""

    def __init__(self, stream: IO[bytes], name: str, offset: int) -> None:
        self._stream, self._name, self.offset = stream, name, offset
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._place = "", 0
        if not offset and self.peek() == "\ufeff":
            self.take(1)

    def peek(self) -> str:
        """Return the next character that is not white space, and skip those before it; "" at the end."""
        while True:
            found = _FILLED.search(self._text, self._place)
            self.take((found.start() if found else len(self._text)) - self._place)
            if found or not self._more():
                return found[0] if found else ""

    def take(self, characters: int) -> None:
        """Go on by some characters."""
        end = self._place + characters
        self.offset += len(self._text[self._place : end].encode())
        self._place = end

    def item(self, limit: int, place: str) -> dict[str, Any]:
        """Return the object that comes next, of at most about `limit` characters.

        Raises:
            DataError: there is none.
        """
        if self.peek() != "{":
            raise DataError(f"the items of an array must be objects, got something else in {place}; repair it")
        while True:
            try:
                item, end = _DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError:
                if len(self._text) - self._place <= limit and self._more():
                    continue
                raise DataError(
                    f"every item must be JSON, got {place}, which is broken or too long; repair it"
                ) from None
            except (RecursionError, _RepeatedKeyError) as error:
                raise DataError(f"every item must be readable JSON, got {place}: {_why(error)}; repair it") from None
            self.take(end - self._place)
            return cast(dict[str, Any], item)

    def _more(self) -> bool:
        data = checked_read(self._stream.read, max(_CHUNK, len(self._text)), self._name)
        self._text, self._place = self._text[self._place :], 0
        try:
            self._text += self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise DataError(
                f"text must be UTF-8, got the byte 0x{error.object[error.start]:02x} in {self._name}; set encoding, or "
                "convert the file"
            ) from None
        return bool(data)


class _RepeatedKeyError(ValueError):
    """An object has a key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        raise _RepeatedKeyError
    return item


def _why(error: Exception) -> str:
    return "nested too deep" if isinstance(error, RecursionError) else "a key stands twice in one object"


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=lambda _name: None
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
        item = _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1:,} of the line"
    except json.JSONDecodeError as error:
        reason = f"not JSON: invalid at character {error.pos + 1:,}"
        if data.lstrip().startswith(b"["):
            reason += " (an array over several lines? give the file the ending .json)"
    except (RecursionError, _RepeatedKeyError) as error:
        reason = f"not readable JSON: {_why(error)}"
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
