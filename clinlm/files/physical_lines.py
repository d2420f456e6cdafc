"""Lines of a byte stream, one at a time, none longer than a limit."""

import gzip
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from clinlm.files.record import RECORD_BYTES

BOM = b"\xef\xbb\xbf"


class PhysicalLine(NamedTuple):
    """One line, its line feed included.

    Attributes:
        number: from 1.
        data: its bytes; None if they are more than `RECORD_BYTES`.
        end: offset of the byte after it.
    """

    number: int
    data: bytes | None
    end: int


def physical_lines(stream: IO[bytes], offset: int, line: int) -> Iterator[PhysicalLine]:
    """Yield the lines of `stream`, which stands at `offset` after `line` lines. A byte order mark is left out.

    Raises:
        ValueError: gzip data are damaged or cut off.
    """
    while True:
        try:
            data = stream.readline(RECORD_BYTES + 1)
            read, whole = len(data), len(data) <= RECORD_BYTES
            while not whole and not data.endswith(b"\n") and data:
                data = stream.readline(RECORD_BYTES)
                read += len(data)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"a .gz file inflates to its end; after line {line:,} this one does not ({type(error).__name__}); "
                "copy it again"
            ) from None
        if not read:
            return
        if not offset:
            data = data.removeprefix(BOM)
        offset, line = offset + read, line + 1
        yield PhysicalLine(line, data if whole else None, offset)
