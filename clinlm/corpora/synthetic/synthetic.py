"""Synthetic: generated tables of MIMIC-III, in which diagnoses can be inferred from context only."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, final, get_args

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import GENERATED, Corpus, Records, digest_generator
from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.corpora.synthetic import lexicon, outcome_lexicon
from clinlm.corpora.synthetic.outcome_tables import SyntheticOutcomeTables
from clinlm.corpora.synthetic.tables import SyntheticTables, written_once

Style = Literal["handoff", "brief", "full", "admission"]
STYLES: tuple[Style, ...] = get_args(Style)
GENERATORS = tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in (SyntheticTables, SyntheticOutcomeTables))
DATA_FILES = (lexicon.LEXICON_FILE, outcome_lexicon.LEXICON_FILE)
"""The code and the data files that determine the tables."""


@final
class Synthetic(Corpus):
    """Generated discharge summaries with known diagnoses, read by `Mimic3`.

    There are forty diagnoses (ICD-9 codes of MIMIC-III, long-tailed, in clusters that occur together; a patient is
    biased to two clusters and to the diagnoses of the previous stay) with two or three spellings each: full names,
    abbreviations, synonyms, 2 % misspelled. A note mentions about seven, of which a random two to five are true, so
    P(true | mentioned) is about 0.4 for each, whatever else is mentioned. Sentences are of six families: `asserted`
    ("Work-up confirmed per chart: A, B"), and, as distractors, `negated` ("Denies ...", "... ruled out"), `family`
    history, `resolved` history, `hedged` (suspected) and `copied` (a sentence of the previous stay, under "Per prior
    note:"). Families have near-identical sentences (confirmed / not confirmed, still active / no longer active) and
    share the words next to the conditions. A diagnosis is a label iff a sentence asserts it: a perfect reader scores
    1.0, a bag of words no more than counting mentions.

    The first `records()` writes the tables, under a file lock, into a temporary folder that is renamed when complete;
    later calls reuse them. The folder is named by the settings and the generator's digest.

    Args:
        root: folder in which the folder of tables is created.
        patients: number of patients, > 0; 1,700 give about 2,400 admissions.
        seed: patient i depends only on (seed, i), so more patients only add rows.
        style: `handoff` for one paragraph of about 50 word pieces, with one or two true and two or three other
            conditions; `brief` for summaries of about 105 (95 % have at most 128), `full` for about 450; `admission`
            for summaries with admission sections and outcomes (`SyntheticOutcomeTables`), which `Mimic3Outcomes` reads.

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
        """Folder of the tables, which may not exist yet."""
        name = "-".join(f"{key}-{value}" for key, value in self.settings.items())
        return self.root / f"synthetic-{name}-{self.fingerprint()[:8]}"

    def check(self) -> None:
        """Check nothing: the tables are generated in `root`."""

    def records(self) -> Records:
        """See `Corpus.records`; writes the tables first if needed."""
        records = Mimic3(self.tables()).records()
        return replace(records, notices=(GENERATED, *records.notices))

    def tables(self) -> Path:
        """Return the folder of the tables, after writing them if needed."""
        return written_once(self.folder, self._tables.write)

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it generates nothing."""
        return digest_generator(self.settings, GENERATORS, DATA_FILES)
