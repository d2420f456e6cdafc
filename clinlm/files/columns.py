"""Checks of column names. Where the first line of a table may be its first record, no cell of it is shown."""

import re
from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import DataError
from clinlm.config.near_names import did_you_mean

_CHARACTERS = 32
_SHOWN = 40
_SENTENCE = 4
"""Most words of a column's name: what has more is text."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W_]")
_IDENTIFIER = re.compile(r"[^\W\d]\w*(?:[-.]\w+)*")
_MARK = re.compile(r"[-._]|[a-z][A-Z]|\w\w\d")
_NUMBER = re.compile(r"-?\d{1,5}(?:\.\d{1,3})?")
_DATA = re.compile(r"[-+\d.,/:\s]*\d[-+\d.,/:\s]*")
_LONG_NUMBER = re.compile(r"(?<!\d)(?!(?:19|20)\d\d(?!\d))\d{3}")
"""Three digits or more, but for a year: of an id."""

_PLAIN, _SHORT = re.compile(r"[^\W\d][\w ./()-]*"), re.compile("[a-z]{1,2}")
_PLACE = re.compile(r"\(column \d+\)")
"""What a cell without a name is called."""

_USUAL = frozenset(
    "abstract accession admission age alter anamnese annotation annotations arztbrief befund birth body brief category "
    "cgid chart chartdate charttime chief cim class clinical code codes codigo column complaint complaints compte "
    "content date datum description diag diagnose diagnoses diagnosis diagnostico discharge doc document documents dx "
    "encounter end entities entity ethnicity finding findings fold free freitext gender geschlecht group hadm history "
    "hpi hx icd id identifier impression index informe iserror key keywords label labels language medical mrn name "
    "narrative no nota note notes notiz number of outcome path patient person pid progress radiology rapport raw "
    "rendu report reports row sample section sentence sex sexe sexo site source span spans specialty split start "
    "storetime study subject summary symptom symptoms tag tags target text texte texto texts time title transcription "
    "type uuid visit year".split()
)
"""Words of which the names of columns are made, in lower case. None of a disease, drug or person."""


def require_columns(
    path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has"
) -> None:
    """Raise a DataError that lists the available columns and the nearest, unless `names` has all of `columns`."""
    _require(path, names, columns, [name for name in names if len(name) <= _CHARACTERS], shown(names), remedy)


def require_header(
    path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has"
) -> None:
    """Check columns as `require_columns` does, of a table whose first line may be no header but its first record.

    Listed are the cells that `showable` keeps. Where one of `columns` is there and no cell looks like data, so are
    other single words.
    """
    there = set(columns) & set(names)
    if not set(columns) <= set(names) and not (there or is_header(names)):
        raise DataError(
            f"the table must have the column {', '.join(map(repr, columns))}, got {path.name} with {len(names):,} "
            "columns, whose first line does not look like names (is it a record?); add a line of names, or "
            f"{remedy}"
        )
    visible = showable(names)
    if there and not any(_is_data(name) or _is_text(name) for name in names):
        visible = [name for name in names if len(name) <= _CHARACTERS and (name in visible or len(name.split()) == 1)]
    hidden = len(names) - len(visible)
    what = "columns whose names" if hidden > 1 else "column whose name"
    counted = f"{hidden:,} {'more ' * bool(visible)}{what} may be text or data"
    listed = " and ".join([*([shown(visible)] if visible else []), *([counted] if hidden else [])])
    _require(path, names, columns, visible, listed, remedy)


def _require(
    path: Path, names: Sequence[str], columns: Sequence[str], visible: Sequence[str], listed: str, remedy: str
) -> None:
    missing = [column for column in columns if column not in names]
    if missing:
        near = did_you_mean(missing[0], visible)
        raise DataError(
            f"the table must have the column {', '.join(map(repr, missing))}, got {path.name} with {listed}"
            f"{near or f'; {remedy}'}"
        )


def is_header(names: Sequence[str]) -> bool:
    """Return whether the cells of a first line are names of columns: unless they plainly are a record.

    A record has a long cell, a date, a long number, or text of several words. Numbers (codes of labels are names as
    well) and short texts (labels again) are names only beside usual ones.
    """
    usual = sum(_usual_words(name) > 0 for name in showable(names) if not _PLACE.fullmatch(name))
    texts, numbers = [name for name in names if _is_text(name)], [name for name in names if _is_data(name)]
    if any(len(name) > 2 * _CHARACTERS or len(name.split()) > _SENTENCE for name in names):
        return False
    if not all(_NUMBER.fullmatch(name) for name in numbers) or (texts and (numbers or usual < 2)):
        return False
    return not numbers or usual >= 2 or (usual == 1 and len(showable(names)) + len(numbers) == len(names))


def showable(names: Sequence[str]) -> list[str]:
    """Return those of the cells of a first line that, by their shape, are names: of usual words, or as in a program.

    `note_id`, `NoteText`, `icd10`, `chief complaint` and `dx` are; `Smith`, `Heart failure` and `4019` may be data.
    """
    return [name for name in names if len(name) <= _CHARACTERS and (_PLACE.fullmatch(name) or _is_name(name))]


def _is_name(name: str) -> bool:
    if not _PLAIN.fullmatch(name) or _LONG_NUMBER.search(name):
        return False
    identifier, usual = bool(_IDENTIFIER.fullmatch(name)), _usual_words(name)
    words = [word for word in _WORD.findall(name) if not (identifier and word.isdigit())]
    if usual == len(words) or _SHORT.fullmatch(name):
        return True
    return identifier and bool(_MARK.search(name)) and (usual > 0 or name[0].islower())


def _usual_words(name: str) -> int:
    return sum(word.lower() in _USUAL for word in _WORD.findall(name))


def _is_data(name: str) -> bool:
    return bool(_DATA.fullmatch(name))


def _is_text(name: str) -> bool:
    """Return whether a cell has several words, less than half of them usual in names."""
    words = name.split()
    return len(words) > 1 and not _PLACE.fullmatch(name) and 2 * _usual_words(name) < len(words)


def shown(names: Sequence[str]) -> str:
    """Join names for a message; long ones become their length, since a file without a header has note text there."""
    short = [name if len(name) <= _CHARACTERS else f"<{len(name):,} characters>" for name in names[:_SHOWN]]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
