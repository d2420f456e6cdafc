"""Texts without labels that a stage trains on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True)
class TransferSet:
    """Texts without labels that a student trains on, besides the training documents.

    In a batch text i is document `len(task.examples.frame) + i`.

    Attributes:
        key: the hash of all that the texts depend on.
        texts: none of them empty.
    """

    key: str
    texts: Sequence[str] = field(repr=False)  # a repr must not show notes

    def folder(self, root: Path) -> Path:
        """Return its folder in the store `root`."""
        return root / f"transfer-{self.key}"
