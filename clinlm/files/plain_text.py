"""Text files, plain or gzip: strict UTF-8, errors name the line."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from clinlm.config.errors import DataError, MissingFileError

BOM = b"\xef\xbb\xbf"
LINE_BYTES_LIMIT = 64 * 2**20
"""Longest line of a corpus file: lines are held in memory."""


class PhysicalLine(NamedTuple):
    """One line, its line feed included.

    Attributes:
        number: from 1.
        data: its bytes; None if they exceed the limit.
        end: offset of the byte after it.
    """

    number: int
    data: bytes | None
    end: int


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file as a stream of bytes, inflated if it starts with gzip's magic number.

    Raises:
        MissingFileError: the file does not exist.
    """
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(IO[bytes], gzip.open(path)) if magic == b"\x1f\x8b" else path.open("rb")


def checked_read(read: Callable[[int], bytes], size: int, name: str) -> bytes:
    """Call `read(size)` of a stream that may be gzip.

    Raises:
        DataError: the gzip data are damaged or cut off.
    """
    try:
        return read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"a .gz file must inflate to its end, got {type(error).__name__} in {name}; copy it again"
        ) from None


def physical_lines(stream: IO[bytes], name: str, offset: int, line: int, limit: int) -> Iterator[PhysicalLine]:
    """Yield the lines of a stream without its byte order mark.

    Args:
        stream: positioned at `offset`, after `line` lines.
        offset: bytes before the stream's position.
        line: lines before it.
        limit: most bytes of a line; a longer one is read past and yielded without data.

    Raises:
        DataError: the gzip data are damaged or cut off.
    """
    while data := checked_read(stream.readline, limit + 1, name):
        size, fits = len(data), len(data) <= limit
        while not fits and not data.endswith(b"\n") and data:
            data = checked_read(stream.readline, limit, name)
            size += len(data)
        if not offset:
            data = data.removeprefix(BOM)
        offset, line = offset + size, line + 1
        yield PhysicalLine(line, data if fits else None, offset)


def read_text(path: Path) -> str:
    """Return the whole text of a file, line ends and byte order mark included.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not UTF-8, or damaged gzip.
    """
    with open_bytes(path) as file:
        data = checked_read(file.read, -1, path.name)
    return decode(data, path, 1)


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file without line ends ("\\n" or "\\r\\n") and byte order mark.

    No other character ends a line: texts may hold form feeds and Unicode line separators. In a file without "\\n" it is
    "\\r", as old Macintosh programs write.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not UTF-8, damaged gzip, or a line is too long.
    """
    with open_bytes(path) as file:
        for line in physical_lines(file, path.name, 0, 0, LINE_BYTES_LIMIT):
            if line.data is None:
                raise DataError(
                    f"lines must have at most {LINE_BYTES_LIMIT:,} bytes, got a longer one in {path.name} line "
                    f"{line.number:,}; check the file"
                )
            text = decode(line.data, path, line.number)
            if line.number == 1 and "\r" in text and not text.endswith("\n"):
                yield from text.removesuffix("\r").split("\r")
            else:
                yield text.removesuffix("\n").removesuffix("\r")


def decode(data: bytes, path: Path, line: int) -> str:
    """Decode bytes of a file that start on `line`.

    Raises:
        DataError: they are not UTF-8; the message names the line and the byte.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        number = line + data.count(b"\n", 0, error.start)
        raise DataError(
            f"text must be UTF-8, got the byte 0x{data[error.start]:02x} in {path.name} line {number:,}; convert the "
            "file, for instance with iconv"
        ) from None
