"""Corpora: readers of the user's files that return records in one shape."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from clinlm.config.errors import ConfigError, MissingFileError
from clinlm.store.sources import sources

NearDuplicates = Literal["count", "merge", "ignore"]
"""What to do with near-duplicates: report them, also keep them in one split, or not look for them."""

GENERATED = "generated notes: the numbers say nothing about patients"
"""Notice of every corpus that is not of people."""

COLUMNS = ("id", "group", "text", "labels", "attributes")


@dataclass(frozen=True)
class Records:
    """The documents of a corpus, one row each.

    Attributes:
        frame: columns `id` (str, unique), `group` (str: what must not span two splits, such as the patient), `text`
            (str, never empty), `labels` (list[str], distinct, may be empty) and `attributes` (struct of nullable
            strings; without attributes it has the field `none`, all null, as polars has no struct without fields).
        notices: counted warnings for the report, such as "12 of 2,377 notes dropped: empty text". No text of a note.
        splits: the split (of `clinlm.corpora.split.SPLITS`) of every group, if the source defines it; None if the task
            draws splits.
    """

    frame: pl.DataFrame = field(repr=False)  # a repr must not show notes
    notices: tuple[str, ...] = ()
    splits: Mapping[str, str] | None = None


class Corpus(ABC):
    """A reader of the user's files. Subclasses are final, one per source.

    Every subclass takes `root` (the file or folder to read) as its first argument, then its own settings.
    """

    remote_allowed: bool = True
    """False where a data use agreement forbids sending text to an outside service (MIMIC)."""
    near_duplicates: NearDuplicates = "count"
    """What the split does with near-duplicates; see `clinlm.corpora.repeats`."""
    root: Path | None = None
    """The file or folder to read; None for generated notes."""

    def check(self) -> None:
        """Check what can be checked without reading: that `root` exists. Subclasses that generate notes check nothing.

        Raises:
            MissingFileError: it does not exist.
            DataError: a column is missing.
        """
        if self.root is not None and not self.root.exists():
            raise MissingFileError(f"root must exist, got {self.root}; set it to the file or folder of the corpus")

    @abstractmethod
    def records(self) -> Records:
        """Read everything.

        Raises:
            MissingFileError: a file does not exist; the message names it and the setting.
            DataError: a column is missing, bytes are not UTF-8, a row is broken, or no record is left.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the hex sha256 of everything that decides `records()` beyond the settings: the bytes of the files."""


def check_near_duplicates(value: NearDuplicates) -> NearDuplicates:
    """Return the setting.

    Raises:
        ConfigError: it is none.
    """
    if value not in get_args(NearDuplicates):
        raise ConfigError(f"near_duplicates must be one of {', '.join(get_args(NearDuplicates))}, got {value!r}")
    return value


def count_notices(counts: Iterable[tuple[int, str]]) -> list[str]:
    """Return the notice "COUNT WHAT" for every count that is not 0."""
    return [f"{count:,} {what}" for count, what in counts if count]


def count_notice(count: int, total: int, what: str) -> list[str]:
    """Return the one notice "COUNT of TOTAL WHAT", or none if the count is 0."""
    return count_notices([(count, f"of {total:,} {what}")])


def count_dropped(before: pl.DataFrame, after: pl.DataFrame, what: str) -> list[str]:
    """Return the one notice "COUNT of TOTAL WHAT" on the rows of `before` that `after` lacks, or none."""
    return count_notice(before.height - after.height, before.height, what)


def digest_files(paths: Iterable[Path]) -> str:
    """Return the hex sha256 of the names and bytes of `paths`, in this order.

    Raises:
        MissingFileError: one of them does not exist.
    """
    total = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            raise MissingFileError(f"a corpus must have its files, got {path}, which does not exist; set task.root")
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def digest_generator(settings: Any, code: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Return the hex sha256 of what decides a generated corpus.

    Args:
        settings: of the generator, as JSON.
        code: dotted paths of the functions and classes that generate; see `clinlm.store.sources`.
        files: the data files that they read.
    """
    parts = [settings, sources({}, code), digest_files(files)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
