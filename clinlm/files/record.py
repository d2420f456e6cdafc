"""What a reader finds: a note, or the reason why there is none, and where the reader stands after it."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, final

RECORD_BYTES = 8 * 2**20
"""A longer line or quoted cell is no note, and would have to be held in memory."""

ID_CHARACTERS = 256
"""A longer id is most likely a note in the wrong column, which has no place in the answers."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@final
class Number(str):
    """A number of JSON as it is written: an id, but no text."""


class Place(NamedTuple):
    """Where a reader stands between two records.

    Attributes:
        offset: bytes done, of the inflated file; rows done of a Parquet file.
        line: lines done.
        suspect: whether a broken quote came before, so that records cannot be told from lines of a note yet.
    """

    offset: int = 0
    line: int = 0
    suspect: bool = False


@final
@dataclass(frozen=True)
class Record:
    """One record of the input: with a text, or with the reason why it is rejected.

    Attributes:
        line: on which it starts, from 1; the row in a Parquet file.
        id: its id; None where it is not known.
        text: of the note; None if rejected.
        reason: why it is rejected; None if it is not. Never holds a word of the note.
        after: where the reader stands after it.
    """

    line: int
    id: str | None
    text: str | None = field(repr=False)
    reason: str | None
    after: Place

    @classmethod
    def rejected(cls, line: int, reason: str, after: Place, id: str | None = None) -> Self:
        """Return a record that is none."""
        return cls(line, id, None, reason, after)

    @classmethod
    def of(cls, line: int, id: Any, text: Any, after: Place, needs_id: bool) -> Self:
        """Return a record of two values as they were read, after checking them.

        Args:
            line: on which it starts.
            id: str or absent; anything else is rejected.
            text: str; anything else is rejected.
            after: where the reader stands after it.
            needs_id: whether an absent id is rejected; else the line number takes its place.
        """
        wrong = _wrong_id(id, needs_id)
        if wrong:
            return cls.rejected(line, wrong, after)
        name = str(line) if id is None or id == "" else str(id)
        wrong = _wrong_text(text)
        return cls.rejected(line, wrong, after, name) if wrong else cls(line, name, text, None, after)

    def told(self) -> bytes:
        """Return the line of the rejects that tells of it."""
        told = {"line": self.line, "id": self.id, "reason": self.reason}
        return (json.dumps(told, ensure_ascii=False) + "\n").encode()


def _wrong_id(id: Any, needed: bool) -> str:
    if id is None or id == "":
        return "no id" if needed else ""
    if not isinstance(id, str):
        return f"the id is no string or number but a {type(id).__name__}"
    if len(id) > ID_CHARACTERS:
        return f"the id has {len(id):,} characters, more than {ID_CHARACTERS}"
    return "the id has line breaks or other control characters" if _CONTROL.search(id) or _SURROGATE.search(id) else ""


def _wrong_text(text: Any) -> str:
    if text is None:
        return "no text"
    if not isinstance(text, str) or isinstance(text, Number):
        return f"the text is no string but a {'number' if isinstance(text, Number) else type(text).__name__}"
    if not text.strip():
        return "the text is empty"
    return "the text is not Unicode: half a surrogate pair" if _SURROGATE.search(text) else ""
