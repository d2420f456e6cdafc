"""Checks of column names. Where the first line of a table may be its first record, no cell of it is shown."""

import re
from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import DataError
from clinlm.config.near_names import did_you_mean

_CHARACTERS = 32
_SHOWN = 40

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_DATA = re.compile(r"[-+\d.,/:\s]*")
_USUAL = frozenset(
    "abstract accession admission age alter annotation annotations befund bericht body category class code "
    "codes column content date datum description diagnose diagnoses diagnosis discharge doc document documents "
    "end entities entity ethnicity finding findings gender geschlecht group hadm icd id identifier impression "
    "index key keywords label labels medical mrn name narrative no note notes notiz number outcome patient "
    "person pid report reports row sample section sentence sex source span spans specialty split start study "
    "subject summary symptom symptoms tag tags target text texts time title transcription type uuid visit year".split()
)
"""Words of which the names of columns are made, in lower case."""


def require_columns(
    path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has"
) -> None:
    """Raise a DataError that lists the available columns and the nearest, unless `names` has all of `columns`."""
    missing = [column for column in columns if column not in names]
    if missing:
        near = did_you_mean(missing[0], [name for name in names if len(name) <= _CHARACTERS])
        raise DataError(
            f"the table must have the column {', '.join(map(repr, missing))}, got {path.name} with {shown(names)}"
            f"{near or f'; {remedy}'}"
        )


def require_header(
    path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has"
) -> None:
    """Check columns as `require_columns` does, of a table whose first line may be no header but its first record."""
    if not set(columns) <= set(names) and not (set(columns) & set(names) or is_header(names)):
        raise DataError(
            f"the table must have the column {', '.join(map(repr, columns))}, got {path.name} with {len(names):,} "
            "columns, whose first line does not look like names (is it a record?); add a line of names, or "
            f"{remedy}"
        )
    require_columns(path, names, columns, remedy)


def is_header(names: Sequence[str]) -> bool:
    """Return whether the cells of a first line are names of columns, as far as they show.

    One must be a usual name, two where others are numbers (codes of labels are names as well), and none be long.
    """
    words = [{word.lower() for word in _WORD.findall(name)} for name in names]
    usual = sum(bool(own) and own <= _USUAL for own in words)
    numbers = any(_DATA.fullmatch(name) for name in names)
    return usual > numbers and all(len(name) <= 2 * _CHARACTERS for name in names)


def shown(names: Sequence[str]) -> str:
    """Join names for a message; long ones become their length, since a file without a header has note text there."""
    short = [name if len(name) <= _CHARACTERS else f"<{len(name):,} characters>" for name in names[:_SHOWN]]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
