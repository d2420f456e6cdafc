"""A folder of generated files in the shape of some source, made once."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, final

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import digest_generator
from clinlm.corpora.synthetic import lexicon, outcome_lexicon
from clinlm.corpora.synthetic.tables import written_once


class GeneratedFolder(ABC):
    """Generates files; subclasses are final, one per shape.

    Args:
        root: folder in which the folder of files is created, named by the settings and a digest of the code.
        patients: number of patients, > 0.
        seed: patient i depends only on (seed, i), so more patients only add rows.

    Raises:
        ConfigError: `patients` is not positive.
    """

    name: ClassVar[str]
    """First word of the folder's name."""
    data: ClassVar[tuple[Path, ...]] = ()
    """Files that the generator reads, besides the lexicons."""

    def __init__(self, root: str | Path, patients: int = 900, seed: int = 0) -> None:
        if patients < 1:
            raise ConfigError(f"patients must be >= 1, got {patients}")
        self.root, self.patients, self.seed = Path(root), patients, seed

    @final
    def tables(self) -> Path:
        """Return the folder of the files, after writing them if needed."""
        mark = self.fingerprint()[:8]
        return written_once(self.root / f"{self.name}-patients-{self.patients}-seed-{self.seed}-{mark}", self.write)

    @final
    def fingerprint(self) -> str:
        """Return the hex sha256 of what decides the files; it generates nothing."""
        files = (lexicon.LEXICON_FILE, outcome_lexicon.LEXICON_FILE, *self.data)
        code = f"{type(self).__module__}.{type(self).__qualname__}"
        return digest_generator({"patients": self.patients, "seed": self.seed}, [code], files)

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the files into `folder`, which exists, a row at a time."""
