"""Where answers go: the abstract writer, and bytes that outlast the process which appended them."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, final

from clinlm.predict.answers import Written


class Sink(ABC):
    """Writes answers, window after window. Subclasses are final."""

    @property
    @abstractmethod
    def position(self) -> int:
        """How far the output is written: what to open it with in order to go on from here."""

    @abstractmethod
    def append(self, rows: Sequence[Written]) -> None:
        """Write the answers of one window, in the order of the input; when this returns, they are on disk."""

    @abstractmethod
    def finish(self) -> None:
        """Bring the output into its final form; may be called again after it was cut short."""

    @abstractmethod
    def clear(self) -> None:
        """Remove what was only needed until the output was declared complete."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the output, finished or not."""


@final
class Appended:
    """A file that grows at its end.

    Args:
        path: of the file; None writes to standard output.
        position: bytes to keep of what is there; what comes after them was never declared written.

    Raises:
        ValueError: the file has fewer bytes.
    """

    def __init__(self, path: Path | None, position: int) -> None:
        self.path, self.position = path, position
        self._file: IO[bytes] = sys.stdout.buffer
        if path is not None:
            there = path.stat().st_size if path.exists() else 0
            if there < position:
                raise ValueError(
                    f"a run goes on where it was stopped; {path} has {there:,} of the {position:,} bytes that were "
                    "written; delete it and its .progress.json, or set another output"
                )
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(position)
            self._file.seek(position)

    def write(self, data: bytes) -> None:
        """Append `data`; when this returns, they are on disk."""
        self._file.write(data)
        self._file.flush()
        if self.path is not None:
            os.fsync(self._file.fileno())
        self.position += len(data)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self.path is not None:
            self._file.close()


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds all of it, on disk, or what it held before."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    rename(draft, path)


def rename(draft: Path, path: Path) -> None:
    """Give a file its final name, on disk when this returns."""
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
