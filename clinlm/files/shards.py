"""A table in one file, or in several: the files of a folder, or those that a pattern names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.arrow import saved_shards

KINDS: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".xlsx")
"""Endings of shards, also with .gz."""

_PATTERN = frozenset("*?[")


def shards(path: Path, setting: str = "root") -> list[Path]:
    """Return the files of a table, ordered by name, in which part-10 follows part-9.

    Args:
        path: a file; a folder that `datasets` saved, or whose files with an ending of `KINDS` are taken; or a pattern
            of names (notes/*.csv).
        setting: its name, for messages.

    Raises:
        MissingFileError: there is none.
        DataError: the files have several endings.
    """
    if path.is_file():
        return [path]
    if path.is_dir() and (saved := saved_shards(path)) is not None:
        return saved
    if path.is_dir():
        found = [
            each for each in path.iterdir() if each.is_file() and ending_of(each) in KINDS and each.name[0] not in "._"
        ]
    else:
        found = [each for each in _matches(path) if each.is_file()]
    if not found:
        what = "where there is none" if path.is_dir() else "which does not exist"
        raise MissingFileError(
            f"a table must be a file, a folder of {', '.join(KINDS)}, or a pattern of names, got {path}, {what}; set "
            f"{setting} to one"
        )
    endings = sorted({ending_of(each) for each in found})
    if len(endings) > 1:
        raise DataError(
            f"the files of a table must have one ending, got {', '.join(endings)} in {path}; set {setting} to a "
            f"pattern, such as {path.name}/*{endings[0]}"
        )
    return sorted(found, key=_order)


def is_several(path: Path) -> bool:
    """Return whether `path` is a folder or a pattern rather than one file, which need not exist."""
    return path.is_dir() or (not path.is_file() and _root(path) is not None)


def shard_root(path: Path) -> Path:
    """Return the folder from which names of the shards of `path` are told: it is the same whatever files there are."""
    return path if path.is_dir() else _root(path) or path.parent


def are_there(path: Path) -> bool:
    """Return whether `path` is a file or folder, or a pattern that names a file."""
    return path.exists() or next(_matches(path), None) is not None


def _matches(path: Path) -> Iterator[Path]:
    root = _root(path)
    if root is not None:
        yield from root.glob("/".join(path.parts[len(root.parts) :]))


def _root(path: Path) -> Path | None:
    """Return what precedes the first part of a pattern that names several files; None for no pattern."""
    parts = path.parts
    first = next((place for place, part in enumerate(parts) if _PATTERN & set(part)), None)
    return None if first is None else Path(*parts[:first])


def ending_of(path: Path) -> str:
    """Return the ending of a name in lower case, without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _order(path: Path) -> tuple[str | int, ...]:
    """Return the key that orders numbers in names as numbers."""
    parts = re.split(r"(\d+)", str(path))
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))
