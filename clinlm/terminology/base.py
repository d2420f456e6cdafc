"""What every vocabulary promises: terms, each with the label of what it names."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

from clinlm.files.plain_text import read_lines


class Term(NamedTuple):
    """A way to write something, in the case of the file, and the label of what it names."""

    text: str
    label: str


class Vocabulary(ABC):
    """A file of terms. Subclasses are final, one per format, one per file, and keep plain settings as attributes.

    They differ from lexicons (`clinlm.terminology.lexicon`), which tell symptoms apart: a lexicon groups the ways to
    write by what they name and folds their case; here only labels are distinguished, and case tells acronyms from
    words.
    """

    @final
    def terms(self, root: Path) -> list[Term]:
        """Return every term once, in the order of the file.

        Args:
            root: the folder that the names of files are relative to.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: it cannot be read, or no term of it is left.
        """
        for path in self.files(root):
            _require(path)
        found = list(dict.fromkeys(self.read(root)))
        if not found:
            name = self.files(root)[0].name
            raise ValueError(f"a vocabulary has terms; none of {name} is left; set another file, or keep more of it")
        return found

    @final
    def fingerprint(self, root: Path) -> str:
        """Hex sha256 of the settings and of the bytes of the files, whatever these are called.

        Raises:
            FileNotFoundError: a file is missing.
        """
        settings = {name: value for name, value in vars(self).items() if not isinstance(value, Path)}
        total = hashlib.sha256(json.dumps([type(self).__name__, settings], sort_keys=True).encode())
        for path in self.files(root):
            _require(path)
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    @abstractmethod
    def files(self, root: Path) -> Sequence[Path]:
        """Return the files that it reads, the one with the terms first."""

    @abstractmethod
    def read(self, root: Path) -> Iterator[Term]:
        """Yield the terms; they may repeat. The files are there."""


def read_cells(path: Path, separator: str, width: int) -> Iterator[list[str]]:
    """Yield the cells of every line of a file without quotes.

    Raises:
        ValueError: a line has other than `width` cells, or the file is no UTF-8.
    """
    for number, line in enumerate(read_lines(path), 1):
        cells = line.split(separator)
        if len(cells) != width:
            raise ValueError(
                f"{path.name} has {width} cells a line, parted by {separator!r}; line {number:,} has {len(cells)}; "
                "fetch it again, or set another file"
            )
        yield cells


def _require(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"a vocabulary reads a file; there is none at {path}; set labeler.root to its folder, "
            "labeler.sources.*.file to its name, or drop it with ~labeler.sources.NAME"
        )
