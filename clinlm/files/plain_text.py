"""Text files, plain or gzip: strict UTF-8, or the encoding that a mark or a setting names; errors name the line."""

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

from clinlm.config.errors import ConfigError, DataError, MissingFileError

BOM = b"\xef\xbb\xbf"
LINE_BYTES_LIMIT = 64 * 2**20
"""Longest line of a corpus file: lines are held in memory."""

_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Byte order mark -> encoding; the longer one first."""

_MAGIC = {
    b"PK\x03\x04": "a zip file (as .xlsx is); unpack it, or give it the ending .xlsx",
    b"PAR1": "Parquet; give it the ending .parquet",
    b"BZh9": "compressed with bzip2; decompress it, or use gzip",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it, or use gzip",
    b"\xd0\xcf\x11\xe0": "an old Office file (as .xls is); save it as .xlsx or .csv",
}
"""First bytes of files that are no text -> what they are, and what to do."""

_CHUNK = 2**18
Read = TypeVar("Read", bytes, int)
"""What reading returns: bytes, or how many."""


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


def open_bytes(path: Path, encoding: str | None = None) -> IO[bytes]:
    """Open a file of text as a stream of bytes in UTF-8, inflated if it starts with gzip's magic number.

    Args:
        path: the file.
        encoding: of its text; None reads UTF-8, or what a byte order mark names (UTF-16, UTF-32).

    Raises:
        MissingFileError: the file does not exist.
        DataError: its first bytes are of another kind of file.
        ConfigError: no such encoding.
    """
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    found = encoding_of(path, encoding)
    stream = _opened(path)
    return stream if found is None else cast(IO[bytes], io.BufferedReader(_Recoded(stream, found, path.name)))


def check_encoding(path: Path, encoding: str | None = None) -> None:
    """Check that the first megabyte of a file is text.

    Raises:
        DataError: it is not in UTF-8, or in the encoding that is set.
    """
    with open_bytes(path, encoding) as stream:
        head = checked_read(stream.read, 2**20, path.name)
    decode(head[: head.rfind(b"\n") + 1], path, 1)


def encoding_of(path: Path, encoding: str | None = None) -> str | None:
    """Return the encoding that a file has to be decoded from; None for UTF-8.

    Raises:
        DataError, ConfigError: as `open_bytes`.
    """
    try:
        named = None if encoding is None else codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError(
            f"encoding must be one that Python knows, got {encoding!r}; set cp1252 (Windows, Excel), latin-1 or utf-8"
        ) from None
    with _opened(path) as stream:
        head = checked_read(stream.read, 6, path.name)
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(f"the file must be text, got {path.name}, which is {what}")
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if marked and named not in (None, marked):
        raise ConfigError(
            f"encoding must be that of the file, got {encoding} for {path.name}, which is {marked} by mark"
        )
    return marked or (None if named == "utf-8" else named)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        magic = file.read(2)
    return cast(IO[bytes], gzip.open(path)) if magic == b"\x1f\x8b" else path.open("rb")


class _Recoded(io.RawIOBase):
    """A stream of bytes in UTF-8 from one in another encoding. Seeking reads from the start."""

    def __init__(self, stream: IO[bytes], encoding: str, name: str) -> None:
        self._stream, self._encoding, self._name = stream, encoding, name
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0:
            raise io.UnsupportedOperation("only from the start")
        self._stream.seek(0)
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._left, self._place, self._ended = b"", 0, False
        while self._place < offset and self.readinto(bytearray(min(_CHUNK, offset - self._place))):
            pass
        return self._place

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            data = checked_read(self._stream.read, _CHUNK, self._name)
            self._ended = not data
            try:
                self._left = self._decoder.decode(data, final=self._ended).encode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"text must be {self._encoding}, got the byte 0x{error.object[error.start]:02x} in {self._name}; "
                    "set another encoding"
                ) from None
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        self._place += size
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


def checked_read(read: Callable[[int], Read], size: int, name: str) -> Read:
    """Call `read(size)`, or `readinto`, of a stream that may be gzip.

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
            f"text must be UTF-8, got the byte 0x{data[error.start]:02x} in {path.name} line {number:,}; set encoding "
            "(task.corpus.encoding=cp1252, or encoding=cp1252 of a command, for what Windows and Excel write), or "
            "convert the file, as iconv does"
        ) from None
