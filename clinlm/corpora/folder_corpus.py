"""A corpus of a folder of the user's, or of generated files in its shape."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol, final

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus, digest_files


class FileGenerator(Protocol):
    """Generates the files of a corpus."""

    def tables(self) -> Path:
        """Return the folder of the files, after writing them if needed."""
        ...

    def fingerprint(self) -> str:
        """Return the hex sha256 of what decides the files; it generates nothing."""
        ...


class FolderCorpus(Corpus, ABC):
    """A corpus of a folder of the user's, or without one of generated files in its shape.

    Subclasses are final, and define `records` and `paths`. Notes of patients stay here: `remote_allowed` is False.

    Args:
        root: the folder; None for generated notes.
        generated: generates the files if `root` is None.
        what: that `root` must be, for the message.

    Raises:
        ConfigError: both are None.
    """

    remote_allowed = False

    def __init__(self, root: str | Path | None, generated: FileGenerator | None, what: str) -> None:
        if root is None and generated is None:
            raise ConfigError(f"root must be {what}, got null; set task.root")
        self.root: Path | None = None if root is None else Path(root)
        self.generated = generated
        self.remote_allowed = root is None

    @abstractmethod
    def paths(self, root: Path | None) -> list[Path]:
        """Return the files that are read; with None, those beside generated ones."""

    @final
    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it generates nothing."""
        own = digest_files(self.paths(self.root))
        if self.root is not None:
            return own
        assert self.generated is not None
        return hashlib.sha256(f"{self.generated.fingerprint()}{own}".encode()).hexdigest()

    @final
    def folder(self) -> Path:
        """Return the folder of the files, after generating them if needed."""
        if self.root is not None:
            return self.root
        assert self.generated is not None
        return self.generated.tables()
