"""Synthetic: MIMIC-III-shaped tables from a seed, in which only context tells the diagnoses."""

import shutil
from pathlib import Path
from typing import Literal, final, get_args

from filelock import FileLock

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import Corpus, Records, digest_generator
from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.corpora.synthetic import lexicon, outcome_lexicon
from clinlm.corpora.synthetic.outcome_tables import SyntheticOutcomeTables
from clinlm.corpora.synthetic.tables import SyntheticTables

Style = Literal["brief", "full", "admission"]
STYLES: tuple[Style, ...] = get_args(Style)
GENERATORS = tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in (SyntheticTables, SyntheticOutcomeTables))
DATA_FILES = (lexicon.LEXICON_FILE, outcome_lexicon.LEXICON_FILE)
"""The code and the data files that decide every byte of the tables."""


@final
class Synthetic(Corpus):
    """Invented discharge summaries with known diagnoses, read back by `Mimic3`.

    How a note is made. Forty diagnoses (ICD-9 codes of MIMIC-III, long-tailed, in clusters that occur together; a
    patient leans to two clusters and to the diagnoses of the stay before) have two or three surfaces each: full names,
    abbreviations, synonyms, 2 % misspelled. A note draws about seven of them to mention, and only then a random two to
    five that are true; so P(true | mentioned) is about 0.4 for each, whatever else is mentioned. Sentences come from
    frames in six families: `asserted` ("Work-up confirmed per chart: A, B", "A on rounds: not in doubt"), and, as
    distractors, `negated` (before and after: "Denies ...", "... ruled out"), `family` history, `resolved` history,
    `hedged` (suspected, never proven) and `copied` (a sentence of the previous stay, word by word, under "Per prior
    note:"). The frames come in near pairs (confirmed / not confirmed, found / not found, still active / no longer
    active) and share the words next to the conditions, and sentences of opposite families are joined by "; however".
    A diagnosis is a label iff a sentence asserts it; a careful reader scores 1.0, counting words gains nothing over
    counting mentions.

    The tables are written on the first `records()`, under a file lock, into a temporary folder that is renamed when it
    is whole, and reused from then on. The folder's name holds settings and generator, so neither can be mixed up.

    Args:
        root: folder in which the folder of tables is made.
        patients: how many, > 0; admissions are 1.4 times as many (1,700 give about 2,400).
        seed: patient i depends on (seed, i) alone, so more patients only add rows.
        style: `brief` for notes of about 105 word pieces (95 % have at most 128), `full` for about 450; `admission` for
            summaries with the sections known at admission and the outcomes that follow from them
            (`SyntheticOutcomeTables`), which `Mimic3Outcomes` reads.

    Raises:
        ConfigError: `patients` is not positive, or `style` is unknown.
    """

    remote_allowed = True

    def __init__(self, root: str | Path, patients: int = 1700, seed: int = 0, style: Style = "brief") -> None:
        if patients < 1:
            raise ConfigError(f"patients must be >= 1, got {patients}")
        if style not in STYLES:
            raise ConfigError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
        self.root: Path = Path(root)
        self.settings = {"patients": patients, "seed": seed, "style": style}
        self._tables: SyntheticOutcomeTables | SyntheticTables
        if style == "admission":
            self._tables = SyntheticOutcomeTables(patients, seed)
        else:
            self._tables = SyntheticTables(patients, seed, style)

    @property
    def folder(self) -> Path:
        """Folder of the tables, whether or not they exist yet."""
        name = "-".join(f"{key}-{value}" for key, value in self.settings.items())
        return self.root / f"synthetic-{name}-{self.fingerprint()[:8]}"

    def check(self) -> None:
        """Check nothing: the tables are generated in `root`."""

    def records(self) -> Records:
        """See `Corpus.records`; writes the tables first if needed."""
        return Mimic3(self.tables()).records()

    def tables(self) -> Path:
        """Return the folder of the tables, after writing them if needed."""
        folder = self.folder
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                self._write(folder)
        return folder

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it generates nothing."""
        return digest_generator(self.settings, GENERATORS, DATA_FILES)

    def _write(self, folder: Path) -> None:
        """Write into a partial folder, renamed when complete; remove what a killed run left behind."""
        partial = folder.with_name(f"{folder.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        self._tables.write(partial)
        partial.rename(folder)
