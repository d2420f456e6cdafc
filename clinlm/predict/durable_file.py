"""Writes that survive the process: on disk when they return, whole or not at all, and for their owner's eyes only."""

import os
import stat
import sys
from pathlib import Path
from typing import IO, final

from clinlm.config.errors import DataError


@final
class AppendedFile:
    """A file that grows at its end.

    Args:
        path: of the file; None writes to standard output.
        position: bytes to keep; anything after them was never committed.

    Raises:
        DataError: the file is shorter.
    """

    def __init__(self, path: Path | None, position: int) -> None:
        self.path, self.position = path, position
        self._file: IO[bytes] = sys.stdout.buffer
        if path is not None:
            size = path.stat().st_size if path.exists() else 0
            if size < position:
                raise DataError(
                    f"{path} must have at least the {position:,} bytes that were written, got {size:,}; delete it and "
                    "its .progress.json, or set another output"
                )
            self._file = open_private(path)
            self._file.truncate(position)
            self._file.seek(position)

    def write(self, data: bytes) -> None:
        """Append `data`; it is on disk when this returns."""
        self._file.write(data)
        self._file.flush()
        if self.path is not None:
            os.fsync(self._file.fileno())
        self.position += len(data)

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self.path is not None:
            self._file.close()


def open_private(path: Path) -> IO[bytes]:
    """Open a file to read and write, made if it is missing; nobody but its owner may do so, whatever came first.

    Raises:
        DataError: the file is another user's, who could read what is written.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600), "r+b")
    facts = os.fstat(file.fileno())
    if stat.S_ISREG(facts.st_mode):
        try:
            path.chmod(0o600)
        except PermissionError:
            file.close()
            raise DataError(
                f"{path} must be yours, so that nobody else reads what is written, got a file of user {facts.st_uid}; "
                "set another output"
            ) from None
    return file


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds all of it, on disk, or what it held before."""
    draft = path.with_name(f".{path.name}.draft")
    with open_private(draft) as file:
        file.truncate()  # what a killed process left there
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    rename_durably(draft, path)


def rename_durably(draft: Path, path: Path) -> None:
    """Rename a file; the new name is on disk when this returns, on systems that can flush a folder."""
    os.replace(draft, path)
    if sys.platform == "win32":  # which opens no folders; NTFS keeps the names in its own journal
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
