"""Delimited text (CSV, TSV; plain or gzip) read in one bounded pass, strict about bytes, quotes and fields.

polars alone is not enough here (polars 2.1, tried on a 2.6 GB table of notes): a row with too few fields is filled with
nulls without a word, its errors quote the cells (note text in a log), and a filtered scan keeps every byte of the file
in memory, because the kept strings are views into buffers that nothing compacts. So the file is inflated and checked in
blocks of some MiB, cut at record ends, and each block that passed is parsed and filtered by polars and compacted.
Nothing is written to disk: inflated notes under a data use agreement stay in memory.

The dialect is RFC 4180: UTF-8 (a byte order mark is skipped), a header, `"` around cells, doubled inside them, records
that end in a line feed (a carriage return before it is dropped). Quoted cells may span lines. Blank lines between
records are skipped, as `csv.DictReader` does. Anything else is an error that names the line.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

BLOCK_BYTES = 8 * 2**20
RECORD_BYTES_LIMIT = 64 * 2**20
"""A longer record is taken for an opening quote that nothing closes."""

_QUOTE, _LINE_FEED, _RETURN = b'"\n\r'
_NAME_CHARACTERS = 32

_Integers = npt.NDArray[np.int64]
"""Positions in a block, or one number per record."""


class _Piece(NamedTuple):
    """Whole records: their bytes without blank lines, how many they are, and the line on which they start."""

    data: bytes
    records: int
    line: int


def scan(path: Path, columns: Sequence[str], separator: str = ",") -> pl.LazyFrame:
    """The given columns of a delimited file, every one as string, as a lazy frame that reads in bounded memory.

    Filters and projections of the lazy frame are applied block by block, so memory holds the kept rows and one block.
    An empty cell is null, a quoted empty cell (`""`) is the empty string.

    Args:
        path: the file; gzip is recognised by its first bytes, whatever the name.
        columns: names as in the header, at least one.
        separator: the one-byte separator, `,` or a tab.

    Raises:
        FileNotFoundError: at once, when the file is missing.
        ValueError: at once, when the file is empty or a column is missing or stands twice; while collecting, with the
            line, when bytes are not UTF-8, a quote is stray or never closed, or a record has more or fewer fields than
            the header.
    """
    names = header(path, separator)
    require(path, names, columns)
    schema: dict[str, pl.DataType] = {name: pl.String() for name in columns}

    def blocks(
        wanted: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        left = rows
        for piece in _body(path, separator):
            frame = _parse(path, piece, names, columns, separator)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            if predicate is not None:
                # Filtered strings are views into the whole block; writing them anew lets the block go.
                frame = frame.filter(predicate).with_columns(pl.all() + pl.lit(""))
            yield frame if wanted is None else frame.select(wanted)
            if left == 0:
                return

    return register_io_source(blocks, schema=schema, validate_schema=True)


def header(path: Path, separator: str = ",") -> list[str]:
    """The column names of a delimited file, in its order.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is empty, or a name stands twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"a corpus reads a file; there is none at {path}; set root to the file or its folder")
    first = next(_pieces(path, separator), None)
    if first is None:
        raise ValueError(f"a table needs a header and rows; {path} is empty")
    record = first.data[: _first_end(first.data)]
    cells = pl.read_csv(record, has_header=False, infer_schema=False, separator=separator).row(0)
    names = [cell or "" for cell in cells]
    if len(set(names)) < len(names):
        raise ValueError(f"the columns of a table need different names; {path.name} has {shown(names)}; rename them")
    return names


def require(path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has") -> None:
    """Raise a ValueError that lists the columns there are, unless `columns` all stand in `names`."""
    missing = [repr(column) for column in columns if column not in names]
    if missing:
        raise ValueError(f"the table needs the column {', '.join(missing)}; {path.name} has {shown(names)}; {remedy}")


def shown(names: Sequence[str]) -> str:
    """Column names for a message; long ones only as their length, since a headerless file has note text there."""
    short = [name if len(name) <= _NAME_CHARACTERS else f"<{len(name):,} characters>" for name in names[:40]]
    return ", ".join(short) + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def opened(path: Path) -> IO[bytes]:
    """The file's bytes as a stream, inflated if it starts with gzip's magic number."""
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(IO[bytes], gzip.open(path)) if magic == b"\x1f\x8b" else path.open("rb")


def chunks(path: Path, size_bytes: int) -> Iterator[bytes]:
    """The file in blocks of about `size_bytes`, inflated.

    Raises:
        ValueError: the gzip data are damaged or cut off.
    """
    with opened(path) as file:
        while True:
            try:
                block = file.read(size_bytes)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise ValueError(f"a .gz file must inflate to its end; {path}: {error}; copy it again") from None
            if not block:
                return
            yield block


def _body(path: Path, separator: str) -> Iterator[_Piece]:
    """The pieces after the header record."""
    pieces = _pieces(path, separator)
    first = next(pieces)
    yield _Piece(first.data[_first_end(first.data) :], first.records - 1, first.line)
    yield from pieces


def _first_end(data: bytes) -> int:
    """Where the first record of checked data ends."""
    return int(_outside(_where(data, _LINE_FEED), _where(data, _QUOTE))[0]) + 1


def _parse(path: Path, piece: _Piece, names: list[str], columns: Sequence[str], separator: str) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {name: pl.String() for name in names}
    if not piece.records:
        return pl.DataFrame(schema=schema).select(columns)
    try:
        frame = pl.read_csv(
            piece.data,
            has_header=False,
            schema=schema,
            separator=separator,
            columns=[names.index(column) for column in columns],
        )
    except pl.exceptions.PolarsError:
        # polars quotes the cells in its messages, so only the place is told.
        raise ValueError(f"{path.name}: the rows from line {piece.line:,} on cannot be parsed as CSV") from None
    if frame.height != piece.records:
        raise ValueError(f"{path.name}: {piece.records:,} records from line {piece.line:,} on, {frame.height:,} parsed")
    return frame.select(columns)


def _pieces(path: Path, separator: str) -> Iterator[_Piece]:
    """Checked pieces of whole records, the header's among them."""
    carry, line, width = b"", 1, None
    stream = chunks(path, BLOCK_BYTES)
    block = next(stream, b"").removeprefix(b"\xef\xbb\xbf")
    while block:
        following = next(stream, b"")
        data = carry + block
        if not following and not data.endswith(b"\n"):
            data += b"\n"
        quotes = _where(data, _QUOTE)
        _check_quotes(path, data, quotes, line, separator)
        feeds = _where(data, _LINE_FEED)
        ends = _outside(feeds, quotes)
        cut = int(ends[-1]) + 1 if ends.size else 0
        carry, block = data[cut:], following
        if carry and (not following or len(carry) > RECORD_BYTES_LIMIT):
            start = _line(data, cut, line)
            raise ValueError(
                f"a quote must be closed; {path.name} line {start:,} starts a record with one that is not; close it"
            )
        if cut:
            piece = data[:cut]
            _check_bytes(path, piece, line)
            _check_returns(path, piece, quotes, line)
            filled = ~_blank(piece, ends)
            if filled.any():
                fields = _fields(piece, ends, quotes, separator)
                width = int(fields[filled][0]) if width is None else width
                _check_fields(path, piece, ends, np.where(filled, fields, width), width, line)
                yield _Piece(_without(piece, ends[~filled]), int(filled.sum()), line)
            line += int(np.searchsorted(feeds, cut))


def _where(data: bytes, byte: int) -> _Integers:
    positions: _Integers = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == byte)
    return positions


def _outside(positions: _Integers, quotes: _Integers) -> _Integers:
    """Those of `positions` that an even number of quotes precedes."""
    outside: _Integers = positions[np.searchsorted(quotes, positions) % 2 == 0]
    return outside


def _blank(data: bytes, ends: _Integers) -> npt.NDArray[np.bool_]:
    """Which records hold nothing, or a carriage return alone."""
    codes = np.frombuffer(data, dtype=np.uint8)
    lengths = np.diff(ends, prepend=-1) - 1
    blank: npt.NDArray[np.bool_] = (lengths == 0) | ((lengths == 1) & (codes[ends - 1] == _RETURN))
    return blank


def _without(data: bytes, ends: _Integers) -> bytes:
    """`data` without the blank records that end at `ends`."""
    if not ends.size:
        return data
    codes = np.frombuffer(data, dtype=np.uint8)
    returns = ends[(ends > 0) & (codes[ends - 1] == _RETURN)] - 1
    return np.delete(codes, np.concatenate([ends, returns])).tobytes()


def _fields(data: bytes, ends: _Integers, quotes: _Integers, separator: str) -> _Integers:
    separators = _outside(_where(data, ord(separator)), quotes)
    fields: _Integers = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
    return fields


def _line(data: bytes, place: int, first: int) -> int:
    """The line of the byte at `place`, when `data` starts on line `first`."""
    return first + data.count(b"\n", 0, place)


def _check_quotes(path: Path, data: bytes, quotes: _Integers, line: int, separator: str) -> None:
    """A quote opens a cell only at its start and closes it only at its end."""
    codes = np.frombuffer(data, dtype=np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    # The last byte's successor is not read yet; the record is not complete then and comes again with the next block.
    opening, closing = opening[opening > 0], closing[closing < len(data) - 1]
    # A quote beside a quote is doubled: it closes and opens at once.
    allowed = np.array([ord(separator), _QUOTE, _LINE_FEED, _RETURN], dtype=np.uint8)
    misplaced = opening[~np.isin(codes[opening - 1], allowed[:3])], closing[~np.isin(codes[closing + 1], allowed)]
    stray = np.concatenate(misplaced)
    if stray.size:
        place = int(stray.min())
        ends = _outside(_where(data[:place], _LINE_FEED), quotes)
        start = int(ends[-1]) + 1 if ends.size else 0
        raise ValueError(
            f"a quote stands at a cell's start or end, or doubled; {path.name} line {_line(data, place, line):,}, in "
            f"the record that starts on line {_line(data, start, line):,}, has one elsewhere; put the cell in "
            "quotes and double the quotes in it"
        )


def _check_bytes(path: Path, data: bytes, line: int) -> None:
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"text must be UTF-8; {path.name} line {_line(data, error.start, line):,} has the byte "
            f"0x{data[error.start]:02x}; convert the file, for instance with iconv"
        ) from None


def _check_fields(path: Path, data: bytes, ends: _Integers, fields: _Integers, width: int, line: int) -> None:
    ragged = np.flatnonzero(fields != width)
    if ragged.size:
        first = int(ragged[0])
        start = int(ends[first - 1]) + 1 if first else 0
        raise ValueError(
            f"every record needs as many fields as the header, {width}; {path.name} line {_line(data, start, line):,} "
            f"has {int(fields[first])}; put cells with line breaks or separators in quotes"
        )


def _check_returns(path: Path, data: bytes, quotes: _Integers, line: int) -> None:
    if b"\r" not in data:
        return
    returns = _outside(_where(data, _RETURN), quotes)
    lone = returns[np.frombuffer(data, dtype=np.uint8)[returns + 1] != _LINE_FEED]
    if lone.size:
        raise ValueError(
            f"records end in a line feed; {path.name} line {_line(data, int(lone[0]), line):,} has a carriage return "
            "alone outside quotes; quote the cell, or convert the line ends"
        )
