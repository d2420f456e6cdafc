"""Delimited text (CSV, TSV; plain or gzip) in one streaming pass, strict about bytes, quotes and fields.

Two ways to read share one splitter: `scan_delimited` yields frames and raises at the first flaw; `DelimitedSource`
yields notes one at a time and rejects what is broken.

polars alone is not enough (polars 2.1, on a 2.6 GB table of notes): it silently fills a record with too few fields with
nulls, its errors quote cells (note text in a log), and a filtered scan keeps the whole file in memory, as the kept
strings are views into its buffers. So the file is inflated and split in blocks at record ends, and polars parses,
filters and compacts each sound block. Nothing is written to disk, so inflated notes stay in memory.

The dialect is RFC 4180: UTF-8 (a byte order mark is skipped), a header, `"` around cells, doubled inside them, records
that end in a line feed (a carriage return before it is dropped). Quoted cells may span lines. Blank lines between
records are skipped, as `csv.DictReader` does. A first line `sep=;`, as Excel reads it, is skipped; white space around
column names is dropped, and columns without a name get their number.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple, cast, final

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

from clinlm.config.errors import DataError
from clinlm.files.columns import is_header, require_header, showable, shown
from clinlm.files.plain_text import BOM, LINE_BYTES_LIMIT, checked_read, decode, encoding_of, open_bytes
from clinlm.files.record import RECORD_BYTES, Position, Record, Source
from clinlm.files.unquoted import UnquotedBytes, count_line_feeds, find_bytes

VOUCHED = 64
"""Number of consecutive sound records after a broken quote that rules out lines of a quoted note."""

_QUOTE, _LINE_FEED, _RETURN = b'"\n\r'
BLOCK_BYTES = 3 * 2**20
"""Bytes split at once for frames."""

_NOTES_BYTES = 2**20
"""Bytes split at once for notes."""

_FIRST_BYTES = 2**16
"""Bytes split at once at the start and after a flaw; doubled from there."""

_STRAY = "a quote neither opens nor closes a cell and is not doubled"
_RETURNED = "a carriage return is alone outside quotes"
_UNCLOSED = "a quote is never closed"
_TOO_LONG = "the line is too long"
_TOO_NEAR = "too near a broken quote to tell records from lines of a note"
_REMEDIES = {
    _STRAY: "put the cell in quotes and double the quotes in it (a backslash does not escape one)",
    _RETURNED: "quote the cell, or convert the line ends",
    _UNCLOSED: "close it",
    _TOO_LONG: "check the file",
}

_SEPARATORS = (",", ";", "\t", "|")

_EXCEL = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=([,;|\t])"?\r?\n')
"""The first line that tells Excel the separator."""

_Integers = npt.NDArray[np.int64]
"""Positions in a block, or one number per record."""


class _Piece(NamedTuple):
    """Sound records, and the blank lines around them.

    Attributes:
        data: their bytes, which start on line `line`.
        line: from 1.
        starts, ends: of every record in `data`; an end is the byte after its line feed.
        fields: number of fields of every record.
        offsets: of the file after every record.
        separators: positions outside quotes in `data`.
    """

    data: bytes
    line: int
    starts: _Integers
    ends: _Integers
    fields: _Integers
    offsets: _Integers
    separators: _Integers

    def first_lines(self) -> _Integers:
        """Return the line, from 1, on which every record starts."""
        return self._lines(self.starts)

    def positions(self) -> list[Position]:
        """Return the position after every record."""
        lines = self._lines(self.ends) - 1
        return [Position(*pair) for pair in zip(self.offsets.tolist(), lines.tolist(), strict=True)]

    def _lines(self, places: _Integers) -> _Integers:
        feeds = np.flatnonzero(np.frombuffer(self.data, dtype=np.uint8) == _LINE_FEED)
        lines: _Integers = self.line + np.searchsorted(feeds, places)
        return lines

    def cells(self) -> Iterator[list[bytes]]:
        """Yield the cells of every record, unquoted."""
        separators, firsts = self.separators.tolist(), np.searchsorted(self.separators, self.starts).tolist()
        records = zip(self.starts.tolist(), self.ends.tolist(), firsts, self.fields.tolist(), strict=True)
        for start, end, first, fields in records:
            inner = separators[first : first + fields - 1]
            stop = end - 2 if self.data[end - 2] == _RETURN else end - 1
            edges = zip((start, *(place + 1 for place in inner)), (*inner, stop), strict=True)
            yield [_unquoted(self.data[left:right]) for left, right in edges]


class _Flaw(NamedTuple):
    """A record that cannot be split. Its first line is skipped, and splitting resumes on the next.

    Attributes:
        line: on which the record starts.
        place: line of the flaw itself.
        reason: a key of `_REMEDIES`.
        after: position after the skipped line.
    """

    line: int
    place: int
    reason: str
    after: Position


@final
class DelimitedSource(Source):
    """Notes in delimited text; broken records are rejected one by one.

    A record whose number of fields differs from the header's is rejected. So is the first line of a record with a
    broken quote; reading resumes on the next line. Whether a record or a line of the broken note starts there is
    unknown, so records are held back until `VOUCHED` of them in a row, or all to the end of the file, are sound. If a
    quote breaks before (as it must where the lines were a note's), the held ones are rejected, too.

    Args:
        path: the file; gzip is recognised by its first bytes.
        id: column of the id, required of every record; None reads `id` where present.
        separator: one ASCII character.
        encoding: see `clinlm.files.plain_text.open_bytes`.

    Raises:
        DataError: the header is missing or broken, or lacks a column.
    """

    def __init__(self, path: Path, text: str, id: str | None, separator: str, encoding: str | None = None) -> None:
        self.path, self.needs_id, self._separator, self._encoding = path, id is not None, separator, encoding
        if not path.name.lower().endswith(".gz") and encoding_of(path, encoding) is None:
            self.total = path.stat().st_size
        names, self._body = _header(path, separator, encoding)
        require_header(path, names, [text], "set text to the column with the note")
        if id is not None:
            require_header(path, names, [id], "set id to the column with the id")
        self._width, self._text = len(names), names.index(text)
        name = id or "id"
        self._id = names.index(name) if name in names else None

    def records(self, start: Position) -> Iterator[Record]:
        start = max(start, self._body)
        suspect, held = start.suspect, list[Record]()
        with open_bytes(self.path, self._encoding) as file:
            file.seek(start.offset)
            splitter = _Splitter(file, self.path.name, self._separator, start, RECORD_BYTES)
            for record, ragged, broken in self._checked(splitter.parts(_NOTES_BYTES)):
                if broken or (suspect and ragged):
                    yield from (_suspected(replace(other, id=None, text=None, reason=_TOO_NEAR)) for other in held)
                    held, suspect = [], True
                if broken or ragged:
                    yield _suspected(record) if suspect else record
                elif not suspect:
                    yield record
                else:
                    held.append(record)
                    if len(held) == VOUCHED:
                        yield from held
                        held, suspect = [], False
            yield from held

    def _checked(self, parts: Iterator["_Piece | _Flaw"]) -> Iterator[tuple[Record, bool, bool]]:
        """Yield every record, whether its number of fields is wrong, and whether a quote is broken."""
        for part in parts:
            if isinstance(part, _Flaw):
                yield Record.rejected(part.line, part.reason, part.after), False, True
                continue
            for line, cells, after in zip(part.first_lines().tolist(), part.cells(), part.positions(), strict=True):
                if len(cells) == self._width:
                    yield self._record(line, cells, after), False, False
                else:
                    reason = f"number of fields: {len(cells)}, of the header: {self._width}"
                    yield Record.rejected(line, reason, after), True, False

    def _record(self, line: int, cells: list[bytes], after: Position) -> Record:
        try:
            id = None if self._id is None else cells[self._id].decode()
            text = cells[self._text].decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: byte 0x{error.object[error.start]:02x} in the id or the text"
            return Record.rejected(line, reason, after)
        return Record.checked(line, id, text, after, self.needs_id)


def scan_delimited(
    path: Path, columns: Sequence[str], separator: str = ",", encoding: str | None = None
) -> pl.LazyFrame:
    """Return columns of a delimited file as a lazy frame of strings that reads in bounded memory.

    Filters and projections of the lazy frame are applied block by block, so memory holds the kept rows and one block.
    An empty cell is null, a quoted empty cell (`""`) is the empty string.

    Args:
        path: the file; gzip is recognised by its first bytes, whatever the name.
        columns: names as in the header, at least one.
        separator: one ASCII character.
        encoding: see `clinlm.files.plain_text.open_bytes`.

    Raises:
        MissingFileError: at once, if the file does not exist.
        DataError: at once, if the file is empty or a column is missing or repeated; on collecting, with the line, if
            bytes are not UTF-8, a quote is stray or unclosed, or a record has another number of fields than the header.
    """
    names, start = _header(path, separator, encoding)
    require_header(path, names, columns)
    schema: dict[str, pl.DataType] = {name: pl.String() for name in columns}

    def blocks(
        wanted: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch: int | None
    ) -> Iterator[pl.DataFrame]:
        left = rows
        asked = columns if wanted is None else {*wanted, *([] if predicate is None else predicate.meta.root_names())}
        parsed = [column for column in columns if column in asked] or columns[:1]
        with open_bytes(path, encoding) as file:
            file.seek(start.offset)
            splitter = _Splitter(file, path.name, separator, start, LINE_BYTES_LIMIT)
            for part in splitter.parts(BLOCK_BYTES):
                frame = _parse(path, _sound(path, part, len(names)), names, parsed, separator)
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                if predicate is not None:
                    # Filtered strings are views into the whole block; copying them lets the block go.
                    frame = frame.filter(predicate).with_columns(pl.all() + pl.lit(""))
                yield frame if wanted is None else frame.select(wanted)
                if left == 0:
                    return

    return register_io_source(blocks, schema=schema, validate_schema=True)


def read_header(path: Path, separator: str = ",", encoding: str | None = None) -> list[str]:
    """Return the column names of a delimited file, in its order.

    Raises:
        MissingFileError: the file does not exist.
        DataError: the file is empty, or a name is repeated.
    """
    return _header(path, separator, encoding)[0]


def find_separator(path: Path, columns: Sequence[str], usual: str, encoding: str | None = None) -> str:
    """Return the separator of a file: what its `sep=` line says, or by which alone its header has `columns`.

    Where that is none or several, it is `usual`, or what parts a header that `usual` does not part: an error that
    lists the columns is due then.

    Raises:
        MissingFileError: the file does not exist.
    """
    with open_bytes(path, encoding) as file:
        told = _EXCEL.match(checked_read(file.read, 16, path.name))
    if told:
        return told[1].decode()
    headers = {}
    for separator in dict.fromkeys((usual, *_SEPARATORS)):
        try:
            headers[separator] = read_header(path, separator, encoding)
        except DataError:  # another separator may read it; the reader of the file reports it otherwise
            continue
    fitting = [separator for separator, names in headers.items() if columns and set(columns) <= set(names)]
    if usual in fitting or len(fitting) == 1:
        return fitting[0]
    parted = max(headers, key=lambda separator: len(headers[separator]), default=usual)
    return parted if len(headers.get(usual, ())) == 1 else usual


def _header(path: Path, separator: str, encoding: str | None) -> tuple[list[str], Position]:
    """Return the column names and the position after them."""
    with open_bytes(path, encoding) as file:
        told = _EXCEL.match(checked_read(file.read, 16, path.name))
        start = Position(told.end(), 1) if told else Position()
        file.seek(start.offset)
        splitter = _Splitter(file, path.name, separator, start, LINE_BYTES_LIMIT)
        part = next((part for part in splitter.parts(BLOCK_BYTES) if isinstance(part, _Flaw) or len(part.starts)), None)
    if part is None:
        raise DataError(f"a table must have a header and rows, got {path}, which is empty; add them")
    if isinstance(part, _Flaw):
        raise _error(path, part)
    cells = [decode(cell, path, int(part.first_lines()[0])).strip() for cell in next(part.cells())]
    names = [cell or f"(column {number})" for number, cell in enumerate(cells, start=1)]
    if len(set(names)) < len(names):
        repeated = len(names) - len(set(names))
        again = showable(sorted({name for name in names if names.count(name) > 1})) if is_header(names) else []
        which = shown(again) if again else "is the first line a record?"
        raise DataError(
            f"column names must be unique, got {repeated:,} of {len(names):,} again ({which}) in {path.name}; rename "
            "them"
        )
    return names, part.positions()[0]


def _sound(path: Path, part: "_Piece | _Flaw", width: int) -> _Piece:
    """Return a piece of which every record has `width` fields in UTF-8, or raise a DataError."""
    if isinstance(part, _Flaw):
        raise _error(path, part)
    if not part.data.isascii():
        decode(part.data, path, part.line)
    ragged = np.flatnonzero(part.fields != width)
    if ragged.size:
        first = int(ragged[0])
        padding = part.data[part.starts[first] : part.ends[first]]
        if not padding.strip(b"\0\x1a\r\n"):
            raise DataError(
                f"every record must have text, got {len(padding):,} padding bytes (0x{padding[0]:02x}) in {path.name} "
                f"line {int(part.first_lines()[first]):,}: the file was cut off, or written by an old program; copy it "
                "again, or remove them"
            )
        raise DataError(
            f"every record must have as many fields as the header ({width}), got {int(part.fields[first])} in "
            f"{path.name} line {int(part.first_lines()[first]):,}; put cells with line breaks or separators in quotes"
        )
    return part


def _error(path: Path, flaw: _Flaw) -> DataError:
    inside = "" if flaw.place == flaw.line else f", in the record that starts on line {flaw.line:,}"
    return DataError(
        f"records must be separated and quoted as in RFC 4180, got {path.name} line {flaw.place:,}{inside}: "
        f"{flaw.reason}; {_REMEDIES[flaw.reason]}"
    )


def _parse(path: Path, piece: _Piece, names: list[str], columns: Sequence[str], separator: str) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = {name: pl.String() for name in names}
    count = len(piece.starts)
    if not count:
        return pl.DataFrame(schema=schema).select(columns)
    data = piece.data
    if int((piece.ends - piece.starts).sum()) < len(data):  # there are blank lines
        records = zip(piece.starts.tolist(), piece.ends.tolist(), strict=True)
        data = b"".join(data[start:end] for start, end in records)
    try:
        frame = pl.read_csv(
            data,
            has_header=False,
            schema=schema,
            separator=separator,
            columns=[names.index(column) for column in columns],
        )
    except pl.exceptions.PolarsError:
        # polars quotes cells in its messages, so only the line is named.
        raise DataError(f"{path.name}: the rows from line {piece.line:,} on cannot be parsed as CSV") from None
    if frame.height != count:
        raise DataError(f"{path.name}: {count:,} records from line {piece.line:,} on, but {frame.height:,} parsed")
    return frame.select(columns)


@final
class _Splitter:
    """Splits a stream of delimited text into pieces of sound records and flaws, in bounded memory.

    Args:
        stream: at the offset of `start`.
        separator: one ASCII character.
        start: where a record begins.
        limit: most bytes of a record; a longer record is reported as a quote that is never closed.
    """

    def __init__(self, stream: IO[bytes], name: str, separator: str, start: Position, limit: int) -> None:
        self._stream, self._name, self._separator, self._limit = stream, name, ord(separator), limit
        self._offset, self._line = start.offset, start.line + 1
        # One buffer for all blocks: what is allocated anew has to be zeroed by the system, which takes a third longer.
        self._buffer, self._place, self._end, self._ended = bytearray(), 0, 0, False
        self._read = start.offset
        if not start.offset and self._fill(len(BOM)) and self._buffer.startswith(BOM):
            self._place, self._offset = len(BOM), len(BOM)

    def parts(self, block: int) -> Iterator[_Piece | _Flaw]:
        """Yield the whole stream in order, split in blocks of about `block` bytes."""
        window = min(_FIRST_BYTES, block)
        while self._fill(window):
            view = memoryview(self._buffer)[self._place : min(self._place + window, self._end)]
            piece, reason, place = self._split(view, self._ended and self._place + window >= self._end)
            if piece.data:
                self._advance(len(piece.data), count_line_feeds(piece.data))
                yield piece
            if reason:
                yield self._skip(reason, place)
                window = min(_FIRST_BYTES, block)
            else:
                window = min(2 * window, block) if piece.data else 2 * window

    def _fill(self, size: int) -> bool:
        """Buffer at least `size` bytes, or all that the stream still has; return whether there are any."""
        while not self._ended and self._end - self._place < size:
            rest = self._buffer[self._place : self._end]
            if len(self._buffer) <= size:
                self._buffer = bytearray(size + 1)  # for a line feed after the last record, which may lack it
            self._buffer[: len(rest)] = rest
            self._place, self._end = 0, len(rest)
            count = self._read_into(memoryview(self._buffer)[self._end : size])
            self._read, self._end, self._ended = self._read + count, self._end + count, not count
            if self._ended and self._end and self._buffer[self._end - 1] != _LINE_FEED:
                self._buffer[self._end] = _LINE_FEED
                self._end += 1
        return self._place < self._end

    def _read_into(self, room: memoryview) -> int:
        read = cast(BufferedIOBase, self._stream).readinto
        return checked_read(lambda _: read(room), len(room), self._name)

    def _advance(self, size: int, lines: int) -> None:
        self._place, self._offset, self._line = self._place + size, self._offset + size, self._line + lines

    def _split(self, view: memoryview, final: bool) -> tuple[_Piece, str, int]:
        """Split the sound records at the beginning of `view` off.

        Returns:
            them; why the next record is broken, "" where it is incomplete or absent; and the line of the flaw.
        """
        codes = np.frombuffer(view, dtype=np.uint8)
        quotes = find_bytes(codes, _QUOTE)
        unquoted = UnquotedBytes(codes, quotes)
        flaw, reason = self._first_flaw(codes, quotes, unquoted)
        ends = unquoted.places(_LINE_FEED) + 1
        ends = ends[ends <= flaw]
        starts = np.append(0, ends)[:-1]
        large = np.flatnonzero(ends - starts > self._limit)
        if large.size:
            starts, ends = starts[: large[0]], ends[: large[0]]
        cut = int(ends[-1]) if ends.size else 0
        # Only the first `limit` bytes decide, so that the outcome does not depend on where reading began.
        if large.size or len(view) - cut > self._limit <= flaw - cut or (final and not reason and cut < len(view)):
            flaw, reason = cut, _UNCLOSED
        place = self._line + count_line_feeds(view[:flaw]) if reason else 0
        filled = ~((ends - starts == 1) | ((ends - starts == 2) & (codes[starts] == _RETURN)))
        starts, ends = starts[filled], ends[filled]
        separators = unquoted.places(self._separator)
        separators = separators[: np.searchsorted(separators, cut)]
        fields = np.searchsorted(separators, ends) - np.searchsorted(separators, starts) + 1
        offsets = np.minimum(self._offset + ends, self._read)
        return _Piece(bytes(view[:cut]), self._line, starts, ends, fields, offsets, separators), reason, place

    def _first_flaw(self, codes: npt.NDArray[np.uint8], quotes: _Integers, unquoted: UnquotedBytes) -> tuple[int, str]:
        """Return the place of the first stray quote or lone carriage return, and which it is; the length and ""."""
        last = len(codes) - 1
        opening, closing = quotes[::2], quotes[1::2]
        # What follows the last byte is not read yet; its record is incomplete then and is split again.
        opening, closing = opening[opening > 0], closing[closing < last]
        # A quote next to a quote is doubled: it closes and opens at once.
        allowed = np.array([self._separator, _QUOTE, _LINE_FEED, _RETURN], dtype=np.uint8)
        misplaced = opening[~np.isin(codes[opening - 1], allowed[:3])], closing[~np.isin(codes[closing + 1], allowed)]
        returns = unquoted.places(_RETURN)
        returns = returns[: np.searchsorted(returns, last)]
        lone = returns[codes[returns + 1] != _LINE_FEED]
        stray = int(min((places[0] for places in misplaced if places.size), default=last + 1))
        returned = int(lone[0]) if lone.size else last + 1
        if stray <= returned:
            return stray, _STRAY if stray <= last else ""
        return returned, _RETURNED

    def _skip(self, reason: str, place: int) -> _Flaw:
        """Skip the first line of a broken record, of any length, without holding more than a block of it."""
        line, size = self._line, 0
        while (feed := self._buffer.find(b"\n", self._place, self._end)) < 0 and not self._ended:
            if self._end - self._place > self._limit:
                size += self._end - self._place
                self._advance(self._end - self._place, 0)
            self._fill(self._end - self._place + _NOTES_BYTES)
        size += feed + 1 - self._place
        self._advance(feed + 1 - self._place, 1)
        after = Position(min(self._offset, self._read), line)
        return _Flaw(line, *((line, _TOO_LONG) if size > self._limit else (place, reason)), after)


def _unquoted(cell: bytes) -> bytes:
    return cell[1:-1].replace(b'""', b'"') if cell.startswith(b'"') else cell


def _suspected(record: Record) -> Record:
    return replace(record, after=record.after._replace(suspect=True))
