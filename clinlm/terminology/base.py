"""Sources of labelled terms for ontology labelers."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.plain_text import read_lines


class Term(NamedTuple):
    """A spelling, in the case of the file, and its label."""

    text: str
    label: str


class TermSource(ABC):
    """A file of terms. Subclasses are final, one per format, and keep plain settings as attributes.

    A lexicon (`clinlm.terminology.lexicon`) groups spellings by the symptom that they name and ignores their case; a
    term source only distinguishes labels, and its case tells acronyms from words.
    """

    @final
    def terms(self, root: Path) -> list[Term]:
        """Return every term once, in the order of the file.

        Args:
            root: folder that the names of files are relative to.

        Raises:
            MissingFileError: a file does not exist.
            DataError: a file cannot be read, or no term is left.
        """
        for path in self.files(root):
            _require_file(path)
        found = list(dict.fromkeys(self.read(root)))
        if not found:
            name = self.files(root)[0].name
            raise DataError(f"a term source must have terms, got none from {name}; set another file, or filter less")
        return found

    @final
    def fingerprint(self, root: Path) -> str:
        """Return the hex sha256 of the settings and of the bytes of the files, whatever their names.

        Raises:
            MissingFileError: a file does not exist.
        """
        settings = {name: value for name, value in vars(self).items() if not isinstance(value, Path)}
        total = hashlib.sha256(json.dumps([type(self).__name__, settings], sort_keys=True).encode())
        for path in self.files(root):
            _require_file(path)
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def notices(self, root: Path) -> Sequence[str]:
        """Return counts of what is left out of the files, or read by a rule; no text of them."""
        return ()

    @abstractmethod
    def files(self, root: Path) -> Sequence[Path]:
        """Return the files to read; the first has the terms."""

    @abstractmethod
    def read(self, root: Path) -> Iterator[Term]:
        """Yield the terms, possibly repeated. The files exist."""


def read_cells(path: Path, separator: str, width: int) -> Iterator[list[str]]:
    """Yield the cells of every line of a file without quotes.

    Raises:
        DataError: a line has other than `width` cells, or the file is not UTF-8.
    """
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split(separator)
        if len(cells) != width:
            raise DataError(
                f"lines must have {width} cells separated by {separator!r}, got {len(cells)} in {path.name} line "
                f"{number:,}; fetch the file again, or set another"
            )
        yield cells


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(
            f"a term source must be a file, got {path}, which does not exist; set labeler.root to its folder, "
            "labeler.sources.*.file to its name, or drop it with ~labeler.sources.NAME"
        )
