"""One note of an input file, or the reason why it is rejected; and the interface of all note readers."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, final

RECORD_BYTES = 8 * 2**20
"""Limit for a line or record of an input of notes: it has to be held in memory."""

ID_CHARACTERS, ID_WORDS = 128, 8
"""Limits for an id: what has more is most likely a note in the wrong column, and ids are written to the answers."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@final
class Number(str):
    """A JSON number as the file writes it: valid as an id, not as a text."""


class Position(NamedTuple):
    """A place between two records from which reading can resume.

    Attributes:
        offset: bytes read of the inflated file; rows read of a Parquet file.
        line: lines read.
        suspect: whether a broken quote precedes, so that a line may be a record or part of a quoted note.
    """

    offset: int = 0
    line: int = 0
    suspect: bool = False


@final
@dataclass(frozen=True)
class Record:
    """One record of the input: a note, or a rejected record with its reason.

    Attributes:
        line: line on which it starts, from 1; the row number in a Parquet file.
        id: None where it is unknown.
        text: the note; None if rejected.
        reason: why it is rejected, without any text of the note; None if it is not.
        after: position from which reading resumes after it.
    """

    line: int
    id: str | None
    text: str | None = field(repr=False)
    reason: str | None
    after: Position

    @classmethod
    def rejected(cls, line: int, reason: str, after: Position, id: str | None = None) -> Self:
        """Return a rejected record."""
        return cls(line, id, None, reason, after)

    @classmethod
    def checked(cls, line: int, id: Any, text: Any, after: Position, needs_id: bool) -> Self:
        """Return a record of two values as read, rejected if one is invalid.

        Args:
            line: line on which it starts.
            id: a string, or None; any other type is rejected.
            text: a string; any other type is rejected.
            after: position after the record.
            needs_id: whether a missing id is rejected; otherwise the line number replaces it.
        """
        problem = _id_problem(id, needs_id)
        if problem or (id and id == text):
            return cls.rejected(line, problem or "the id is the text of the note", after)
        name = str(line) if id is None or id == "" else str(id)
        problem = _text_problem(text)
        return cls.rejected(line, problem, after, name) if problem else cls(line, name, text, None, after)

    def reject_line(self) -> bytes:
        """Return the JSON line that the file of rejects gets for this record."""
        fields = {"line": self.line, "id": self.id, "reason": self.reason}
        return (json.dumps(fields, ensure_ascii=False) + "\n").encode()


class Source(ABC):
    """A reader of notes, one at a time. Subclasses are final.

    Attributes:
        total: the final `Position.offset`, where known in advance; else None.
    """

    total: int | None = None

    @abstractmethod
    def records(self, start: Position) -> Iterator[Record]:
        """Yield the records after `start` in file order, in constant memory.

        Raises:
            DataError: the file cannot be read any further.
        """


def has_surrogate(text: str) -> bool:
    """Return whether `text` holds half a surrogate pair, which no encoding can write."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def _id_problem(id: Any, needed: bool) -> str:
    if id is None or id == "":
        return "no id" if needed else ""
    if not isinstance(id, str):
        return f"the id must be a string or a number, got a {type(id).__name__}"
    if len(id) > ID_CHARACTERS:
        return f"the id has {len(id):,} characters, more than {ID_CHARACTERS}"
    if len(id.split()) > ID_WORDS:
        return f"the id has {len(id.split()):,} words, more than {ID_WORDS}"
    return "the id has line breaks or other control characters" if _CONTROL.search(id) or has_surrogate(id) else ""


def _text_problem(text: Any) -> str:
    if text is None:
        return "no text"
    if not isinstance(text, str) or isinstance(text, Number):
        return f"the text must be a string, got a {'number' if isinstance(text, Number) else type(text).__name__}"
    if not text.strip():
        return "the text is empty"
    return "the text is not Unicode: half a surrogate pair" if has_surrogate(text) else ""
