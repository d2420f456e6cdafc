"""Checks of column names."""

from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import DataError

_CHARACTERS = 32
_SHOWN = 40


def require_columns(
    path: Path, names: Sequence[str], columns: Sequence[str], remedy: str = "set columns that it has"
) -> None:
    """Raise a DataError that lists the available columns, unless `names` has all of `columns`."""
    missing = [repr(column) for column in columns if column not in names]
    if missing:
        raise DataError(
            f"the table must have the column {', '.join(missing)}, got {path.name} with {shown(names)}; {remedy}"
        )


def shown(names: Sequence[str]) -> str:
    """Join names for a message; long ones become their length, since a file without a header has note text there."""
    short = [name if len(name) <= _CHARACTERS else f"<{len(name):,} characters>" for name in names[:_SHOWN]]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
