"""Checks of column names."""

from collections.abc import Sequence
from pathlib import Path

from clinlm.config.errors import DataError
from clinlm.config.near_names import did_you_mean

_CHARACTERS = 32
_SHOWN = 40


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


def shown(names: Sequence[str]) -> str:
    """Join names for a message; long ones become their length, since a file without a header has note text there."""
    short = [name if len(name) <= _CHARACTERS else f"<{len(name):,} characters>" for name in names[:_SHOWN]]
    return ", ".join(short) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
