"""Lines of files with one token per line: their columns, headers, comments and marks of documents."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, final

from clinlm.files.plain_text import read_lines

BREAK = "-DOCSTART-"

_SPACES = " \t\r"
_COMMENT = re.compile(r"# *(?:[\w:.]+(?: [\w:.]+)? *=.*|newdoc\b.*|newpar\b.*)")
_NEW_DOCUMENT = re.compile(r"# *newdoc\b(?: +id)?[ =:]*(.*)")
_TOKENS = ("token", "tokens", "word", "words", "form")
_TAGS = ("tag", "tags", "ner_tag", "ner_tags", "ner", "label", "labels", "iob", "bio", "entity")
_SENTENCES = ("sentence_id", "sentence #", "sentence", "sentence_idx", "sent_id", "sentence id")


class Line(NamedTuple):
    """A line that is not empty.

    Attributes:
        number: from 1.
        cells: of a token; none if the line begins a document.
        begins: whether an empty line, the beginning of the file, or a mark is above it, or its sentence has another id.
        name: of the document that it begins, "" for one without name.
    """

    number: int
    cells: list[str]
    begins: bool
    name: str = ""

    def __repr__(self) -> str:
        return f"Line({self.number})"


@final
@dataclass(slots=True)
class Lines:
    """The lines of a file.

    Attributes:
        header: the columns in lower case; empty if there is none.
        counts: numbers of `comments` and of `headers` left out.
    """

    lines: list[Line] = field(repr=False)
    header: list[str]
    counts: Counter[str]

    def column(self, kind: Sequence[str]) -> int | None:
        """Return the first column of the header with one of these names."""
        return next((n for n, name in enumerate(self.header) if name in kind), None)

    @property
    def tokens(self) -> int | None:
        """Return the column of tokens that the header names."""
        return self.column(_TOKENS)

    @property
    def tags(self) -> int | None:
        """Return the column of tags that the header names."""
        return self.column(_TAGS)


def read_conll_lines(path: Path, marker: str | None) -> Lines:
    """Read the lines of a file.

    Lines with a tab are split at tabs, others at spaces. Where there is no tab and spaces do not give all lines equally
    many columns, but commas or semicolons do, these separate, with quotes as in CSV. A header is a first line that
    names a column of tags and one of tokens. Comments are lines `# key = value` without tabs; `# newdoc` and `marker`
    begin a document, as -DOCSTART- does.

    Raises:
        DataError: the file is not UTF-8.
    """
    raw = [(number, line.rstrip(_SPACES)) for number, line in enumerate(read_lines(path), start=1)]
    tabs = any("\t" in line for _, line in raw)
    separator = None if tabs else _separator([line for _, line in raw if line])
    found = Lines([], [], Counter())
    begins = True
    special = ("#", BREAK) if marker is None else ("#", BREAK, marker)
    for number, line in raw:
        mark = _mark(line, marker, tabs) if line.startswith(special) else None
        if mark is not None:
            found.lines.append(Line(number, [], True, mark))
        elif line.startswith("#") and _COMMENT.fullmatch(line) and not (tabs and "\t" in line):
            found.counts["comments"] += 1
            continue
        elif line:
            cells = line.split("\t") if "\t" in line else _split(line, separator)
            if not found.lines and not found.header and _is_header(cells):
                found.header = [cell.strip().lower() for cell in cells]
                found.counts["headers"] += 1
                continue
            found.lines.append(Line(number, cells, begins))
        begins = not line or mark is not None
    _begin_at_ids(found)
    return found


def _mark(line: str, marker: str | None, tabs: bool) -> str | None:
    """Return the name of the document that a line begins, "" for none; None if it begins none."""
    if marker is not None and line.startswith(marker):
        return line.removeprefix(marker).strip(" \t=:")
    new = _NEW_DOCUMENT.fullmatch(line)
    if new and not (tabs and "\t" in line):
        return new[1].strip()
    return "" if line.startswith(BREAK) else None


def _separator(lines: Sequence[str]) -> str | None:
    """Return the separator of a file without tabs: what splits all lines into equally many cells; None for spaces."""
    rows = [line for line in lines if not line.startswith(("#", BREAK))]
    for separator in (None, ",", ";"):
        widths = {len(_split(line, separator)) for line in rows}
        if len(widths) == 1 and widths.pop() > 1:
            return separator
    return None


def _split(line: str, separator: str | None) -> list[str]:
    """Return the cells of a line without tabs."""
    if separator is None:
        return re.split(" +", line.strip(" "))
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a field of more than 128 KiB
        return [line]


def _is_header(cells: Sequence[str]) -> bool:
    names = [cell.strip().lower() for cell in cells]
    return any(name in _TOKENS for name in names) and any(name in _TAGS for name in names)


def _begin_at_ids(found: Lines) -> None:
    """Begin a sentence where the id of sentences changes; a line without id belongs to the one above."""
    column, before = found.column(_SENTENCES), ""
    if column is None:
        return
    for number, line in enumerate(found.lines):
        own = line.cells[column].strip() if column < len(line.cells) else ""
        if own and own != before:
            found.lines[number], before = line._replace(begins=True), own
