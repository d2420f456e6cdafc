"""Counts of values in the pages of a Parquet file, which polars believes before it has read a value.

polars (2.1) takes memory for as many values as the header of a page says. Of a negative number, which one changed bit
makes of a positive one, or of a large one, that is more than any machine has, and the allocator ends the process: no
error to catch.
Headers are structs of Thrift's compact protocol (parquet.thrift: FileMetaData, ColumnMetaData, PageHeader).
"""

import struct
from collections.abc import Iterator
from operator import index
from pathlib import Path
from typing import IO, Any, Final

from clinlm.config.errors import DataError

_MAGIC: Final = b"PAR1"
_ROW_GROUPS, _COLUMNS, _CHUNK = 4, 1, 3
_OF_CHUNK, _SIZE, _FIRST_DATA, _FIRST_DICTIONARY = 5, 7, 9, 11
_UNPACKED, _COMPRESSED, _COUNTED, _DICTIONARY, _VALUES = 2, 3, (5, 8), 7, 1
"""Numbers of fields: sizes of a page, headers of the kinds of pages with values of rows or of a dictionary, and their
number."""

_HEADER_BYTES: Final = (2**13, 2**20)
"""Bytes that are read for a header, and then for one that is longer (statistics may hold texts)."""

_DEPTH: Final = 64
_Fields = dict[int, Any]
_UNREADABLE = (IndexError, ValueError, KeyError, TypeError, AttributeError, struct.error)


def check_pages(path: Path) -> None:
    """Check that no page of a Parquet file has more values than its column, or a dictionary than bytes.

    A dictionary may have values that no row has. What else is broken in the file, polars says.

    Raises:
        DataError: one does.
    """
    with path.open("rb") as file:
        for values, most in _counts(file):
            if not 0 <= values <= most:
                raise DataError(
                    f"a page of a .parquet file must hold 0 to {most:,} values, as many as its column (a dictionary: "
                    f"as its bytes), got {values:,} in {path}; copy it again"
                )


def _counts(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the number of values of every page whose header can be read, and the most that it can have."""
    for start, size, most in _chunks(file):
        place = start
        while 0 <= place < start + size:
            try:
                header, length = _header(file, place)
                yield from ((index(header[kind][_VALUES]), most) for kind in _COUNTED if kind in header)
                if _DICTIONARY in header:
                    yield index(header[_DICTIONARY][_VALUES]), max(0, index(header[_UNPACKED]))
                place += length + max(0, header[_COMPRESSED])
            except (OSError, *_UNREADABLE):
                break


def _chunks(file: IO[bytes]) -> list[tuple[int, int, int]]:
    """Return start, size in bytes and number of values of every column of every row group.

    Nothing where the footer cannot be read.
    """
    try:
        file.seek(-8, 2)
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != _MAGIC:
            return []
        file.seek(-8 - length, 2)
        footer, _ = _Compact(file.read(length)).fields()
        found = []
        for group in footer.get(_ROW_GROUPS, ()):
            for column in group.get(_COLUMNS, ()):
                chunk = column[_CHUNK]
                start = chunk.get(_FIRST_DICTIONARY) or chunk[_FIRST_DATA]
                found.append((index(start), index(chunk[_SIZE]), index(chunk[_OF_CHUNK])))
        return found
    except (OSError, *_UNREADABLE):
        return []


def _header(file: IO[bytes], place: int) -> tuple[_Fields, int]:
    """Return the header of the page at a place, and its length in bytes."""
    for size in _HEADER_BYTES:
        file.seek(place)
        data = file.read(size)
        try:
            return _Compact(data).fields()
        except IndexError:
            if len(data) < size:
                raise
    raise ValueError("no header is as long")


class _Compact:
    """A struct in Thrift's compact protocol; fields by number, what is no number is read over or left as it is.

    Raises:
        IndexError: the data end before the struct does.
        ValueError: they are none.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def fields(self) -> tuple[_Fields, int]:
        """Return the fields of the struct at the start, and its length in bytes."""
        return self._struct(0), self._place

    def _struct(self, depth: int) -> _Fields:
        found: _Fields = {}
        number = 0
        while kind := (head := self._byte()) & 15:
            number = number + (head >> 4) if head >> 4 else self._integer()
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError("structs in structs without end")
        if kind in (1, 2, 3):  # in a list, a truth value is a byte
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (7, 8):
            return self._skip(8 if kind == 7 else self._unsigned())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind == 11:
            count = self._unsigned()
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(count)]
        if kind == 12:
            return self._struct(depth + 1)
        raise ValueError(f"no type has the number {kind}")

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _skip(self, count: int) -> None:
        self._place += count
        if self._place > len(self._data):
            raise IndexError("the data end before a value does")

    def _unsigned(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _integer(self) -> int:
        found = self._unsigned()
        return (found >> 1) ^ -(found & 1)
