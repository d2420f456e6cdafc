"""Notes in JSON Lines, plain or gzip, from a file or from standard input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, final

from clinlm.files import delimited
from clinlm.files.physical_lines import PhysicalLine, physical_lines
from clinlm.files.record import RECORD_BYTES, Number, Place, Record
from clinlm.files.source import Source


@final
class JsonLinesSource(Source):
    """One JSON object a line, in UTF-8. Blank lines are no records and are skipped, as corpora do.

    Args:
        path: of the file; gzip is recognised by its first bytes.
        text: key of the text.
        id: key of the id, which every record must have; None takes `id` where there is one.
        stream: standard input, read instead of `path`.
    """

    def __init__(self, path: Path, text: str, id: str | None, stream: IO[bytes] | None = None) -> None:
        self.path, self.text, self.id, self.stream = path, text, id, stream
        if stream is None and not path.name.endswith(".gz"):
            self.total = path.stat().st_size

    def records(self, start: Place) -> Iterator[Record]:
        """See `Source.records`."""
        if self.stream is not None:
            yield from self._records(self.stream, start)
            return
        with delimited.opened(self.path) as file:
            file.seek(start.offset)
            yield from self._records(file, start)

    def _records(self, stream: IO[bytes], start: Place) -> Iterator[Record]:
        for line in physical_lines(stream, start.offset, start.line):
            if line.data is None or line.data.strip():
                yield self._record(line)

    def _record(self, line: PhysicalLine) -> Record:
        after = Place(line.end, line.number)
        item = _parsed(line.data)
        if isinstance(item, str):
            return Record.rejected(line.number, item, after)
        return Record.of(line.number, _id(item.get(self.id or "id")), item.get(self.text), after, self.id is not None)


def _parsed(data: bytes | None) -> dict[str, Any] | str:
    """Return the object of a line, or why there is none."""
    if data is None:
        return f"the line is longer than {RECORD_BYTES:,} bytes"
    try:
        item = json.loads(data.decode(), parse_int=Number, parse_float=Number, parse_constant=lambda _name: None)
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1:,} of the line"
    except json.JSONDecodeError as error:
        return f"not JSON: breaks off at character {error.pos + 1:,}"
    except RecursionError:
        return "not JSON that can be read: nested too deep"
    return item if isinstance(item, dict) else f"no JSON object but a {type(item).__name__}"


def _id(value: Any) -> Any:
    return ("false", "true")[value] if isinstance(value, bool) else value
