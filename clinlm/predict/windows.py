"""Records in windows, which are answered, written and committed one after another, by one process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clinlm.files.record import Record

WINDOW_CHARACTERS = 2**23
"""A window ends where its texts reach this, however few they are: memory stays what it is."""


def windows(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    """Yield records in lists of `size`; fewer where their texts reach `WINDOW_CHARACTERS` before."""
    window, characters = list[Record](), 0
    for record in records:
        window.append(record)
        characters += len(record.text or "")
        if len(window) == size or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Hold an output against other processes.

    Raises:
        ValueError: another holds it.
    """
    lock = FileLock(output.with_name(f".{output.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"one process writes an output; another is writing {output}; set another output") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
