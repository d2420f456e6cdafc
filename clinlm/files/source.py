"""Where notes come from: the abstract reader, and which one reads a file."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clinlm.files.record import Place, Record

_HEAD_BYTES = 2**20


class Source(ABC):
    """Reads notes one after another. Subclasses are final.

    Attributes:
        total: what `Place.offset` will be at the end, where that can be known; None else.
    """

    total: int | None = None

    @abstractmethod
    def records(self, start: Place) -> Iterator[Record]:
        """Yield what comes after `start`, in the order of the file, in constant memory.

        Raises:
            ValueError: the file cannot be read on at all.
        """


def fingerprint(path: Path) -> dict[str, Any]:
    """Return by what a file is known again: its size, when it was changed, and a digest of its first MiB."""
    facts = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(_HEAD_BYTES)).hexdigest()
    return {"bytes": facts.st_size, "changed_ns": facts.st_mtime_ns, "head": head}
