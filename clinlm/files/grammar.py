"""Delimited text (RFC 4180) cut into records, line by line, and taken up again after a record that breaks the rules."""

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, final

from clinlm.files.physical_lines import PhysicalLine
from clinlm.files.record import RECORD_BYTES

_LONG = f"the line is longer than {RECORD_BYTES:,} bytes"
_UNCLOSED = "a quote is opened and never closed"
_STRAY = "a quote stands neither at a cell's start or end, nor doubled; or a line breaks in a bare carriage return"


class Found(NamedTuple):
    """What lies between two record ends.

    Attributes:
        line: on which it starts, from 1.
        last: its last line; the only one, if it is broken.
        cells: of a sound record; None if it is broken.
        reason: why it is broken; "" if it is not.
    """

    line: int
    last: PhysicalLine
    cells: list[bytes] | None
    reason: str = ""


@final
class Grammar:
    """The rules as regular expressions over the bytes of a line.

    Args:
        separator: one character of ASCII.
    """

    def __init__(self, separator: str) -> None:
        mark = re.escape(separator.encode())
        inside = rb'[^"]*+(?:""[^"]*+)*+'
        bare = rb'[^"\r\n' + mark + rb"]*+"
        end = rb"\r?\n?\Z"
        cell = rb'(?:"%s"|%s)' % (inside, bare)
        rest = rb'(?:%s%s)*+(?:%s%s|(?P<opened>"%s\Z))' % (cell, mark, cell, end, inside)
        self._outside = re.compile(rest)
        self._inside = re.compile(rb'%s(?:(?P<still>\Z)|"(?:%s|%s%s))' % (inside, end, mark, rest))
        self._cell = re.compile(rb'(?:"(?P<quoted>%s)"|(?P<bare>%s))(?:(?P<mark>%s)|%s)' % (inside, bare, mark, end))

    def records(self, lines: Iterator[PhysicalLine]) -> Iterator[Found]:
        """Yield every record. Of a broken one its first line; the next record is sought from the line after it."""
        again: deque[PhysicalLine] = deque()

        def following() -> Iterator[PhysicalLine]:
            while True:
                line = again.popleft() if again else next(lines, None)
                if line is None:
                    return
                yield line

        for line in following():
            if line.data is not None and not line.data.strip(b"\r\n"):
                continue
            taken, reason = self._taken(line, following())
            if reason:
                again.extendleft(reversed(taken[1:]))
                yield Found(line.number, line, None, reason)
            else:
                yield Found(line.number, taken[-1], self._cells(b"".join(one.data or b"" for one in taken)))

    def _taken(self, first: PhysicalLine, more: Iterator[PhysicalLine]) -> tuple[list[PhysicalLine], str]:
        """Return the lines of the record that begins with `first`, or those read until it broke, and why it did."""
        taken, size, open = [first], 0, False
        while True:
            data = taken[-1].data
            if data is None:
                return taken, _LONG if taken == [first] else _UNCLOSED
            size += len(data)
            state = self._after(data, open)
            if state is None or size > RECORD_BYTES:
                return taken, _STRAY if state is None else _UNCLOSED
            open = state
            following = next(more, None) if open else None
            if following is None:
                return taken, _UNCLOSED if open else ""
            taken.append(following)

    def _after(self, line: bytes, open: bool) -> bool | None:
        """Return whether a quoted cell is open after `line`, if one was `open` before it; None if it breaks a rule."""
        match = (self._inside if open else self._outside).match(line)
        return None if match is None else any(part is not None for part in match.groupdict().values())

    def _cells(self, record: bytes) -> list[bytes]:
        found, place, mark = list[bytes](), 0, b""
        while mark is not None:
            match = self._cell.match(record, place)
            assert match is not None, "only sound records come here"
            quoted, bare, mark = match.group("quoted", "bare", "mark")
            found.append(bare if quoted is None else quoted.replace(b'""', b'"'))
            place = match.end()
        return found
