"""Notes in CSV or TSV, plain or gzip, read record by record: a broken one is rejected, and the next one found again."""

from collections.abc import Iterator
from pathlib import Path
from typing import final

from clinlm.files import delimited
from clinlm.files.grammar import Found, Grammar
from clinlm.files.physical_lines import physical_lines
from clinlm.files.record import Place, Record
from clinlm.files.source import Source

VOUCHED = 64
"""So many records in a row with the right number of fields, after a broken quote, are no lines of a note."""

_TOO_NEAR = "too near a broken quote to tell records from lines of a note"


@final
class DelimitedSource(Source):
    """The dialect is RFC 4180, as in `clinlm.files.delimited`; records may span lines, blank lines are skipped.

    A record with another number of fields than the header is rejected. So is a line on which a record with a broken
    quote starts; reading goes on at the next line. As nobody can tell then whether that is a record or a line of the
    broken note, records are held back until `VOUCHED` of them in a row, or all to the end of the file, are sound; if a
    quote breaks before (as it must where the lines were a note's), those held back are rejected, too.

    Args:
        path: of the file; gzip is recognised by its first bytes.
        text: column of the text.
        id: column of the id, which every record must have; None takes `id` where there is one.
        separator: one character.

    Raises:
        ValueError: the header is none, or lacks a column.
    """

    def __init__(self, path: Path, text: str, id: str | None, separator: str) -> None:
        self.path, self.needs_id = path, id is not None
        self._grammar = Grammar(separator)
        if not path.name.endswith(".gz"):
            self.total = path.stat().st_size
        names, self._body = self._header()
        delimited.require(path, names, [text], "set text to the column with the note")
        if id is not None:
            delimited.require(path, names, [id], "set id to the column with the id")
        self._width, self._text = len(names), names.index(text)
        name = id or "id"
        self._id = names.index(name) if name in names else None

    def _header(self) -> tuple[list[str], Place]:
        with delimited.opened(self.path) as file:
            first = next(self._grammar.records(physical_lines(file, 0, 0)), None)
        if first is None or first.cells is None:
            why = "is empty" if first is None else f"has none on line {first.line:,}: {first.reason}"
            raise ValueError(f"a table begins with the names of its columns; {self.path.name} {why}; add them")
        try:
            names = [cell.decode() for cell in first.cells]
        except UnicodeDecodeError:
            raise ValueError(
                f"text must be UTF-8; the header of {self.path.name} is not; convert the file, for instance with iconv"
            ) from None
        if len(set(names)) < len(names):
            raise ValueError(
                f"the columns of a table need different names; {self.path.name} has {delimited.shown(names)}; "
                "rename them"
            )
        return names, Place(first.last.end, first.last.number)

    def records(self, start: Place) -> Iterator[Record]:
        """See `Source.records`."""
        start = max(start, self._body)
        suspect, held = start.suspect, list[Found]()
        with delimited.opened(self.path) as file:
            file.seek(start.offset)
            for found in self._grammar.records(physical_lines(file, start.offset, start.line)):
                wrong = self._wrong(found)
                if found.cells is None or (suspect and wrong):
                    yield from (self._rejected(one, _TOO_NEAR, True) for one in held)
                    held, suspect = [], True
                if wrong:
                    yield self._rejected(found, wrong, suspect)
                elif not suspect:
                    yield self._record(found)
                else:
                    held.append(found)
                    if len(held) == VOUCHED:
                        yield from map(self._record, held)
                        held, suspect = [], False
            yield from map(self._record, held)

    def _wrong(self, found: Found) -> str:
        if found.cells is None or len(found.cells) == self._width:
            return found.reason
        return f"number of fields: {len(found.cells)}, of the header: {self._width}"

    def _rejected(self, found: Found, reason: str, suspect: bool) -> Record:
        return Record.rejected(found.line, reason, Place(found.last.end, found.last.number, suspect))

    def _record(self, found: Found) -> Record:
        assert found.cells is not None, "only sound records come here"
        after, id = Place(found.last.end, found.last.number), None
        try:
            id = None if self._id is None else found.cells[self._id].decode()
            text = found.cells[self._text].decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: byte 0x{error.object[error.start]:02x} in the id or the text"
            return Record.rejected(found.line, reason, after)
        return Record.of(found.line, id, text, after, self.needs_id)
