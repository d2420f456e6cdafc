"""MIMIC-IV: outcomes of an admission, predicted from what is known at admission."""

from pathlib import Path
from typing import Final, final, get_args

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import GENERATED, Records, count_dropped
from clinlm.corpora.folder_corpus import FolderCorpus
from clinlm.corpora.mimic.discharge_summaries import join_summaries
from clinlm.corpora.mimic.mimic3_outcomes import COLUMNS, Outcome
from clinlm.corpora.mimic.mimic4 import attributes4, discharge_notes, stays4, table4_path
from clinlm.corpora.mimic.outcome_labels import codes, length_of_stay, mortality
from clinlm.corpora.mimic.stay_notes import as_admission_notes, group_stays
from clinlm.corpora.mimic.versioned_codes import Versions, versioned_codes
from clinlm.corpora.synthetic.mimic4_tables import SyntheticMimic4

TABLES: Final = {"diagnoses_3digit": "diagnoses_icd", "procedures_3digit": "procedures_icd"}
"""The tables of the outcomes that are codes."""


@final
class Mimic4Outcomes(FolderCorpus):
    """One record per admission of MIMIC-IV: its admission note and its outcome, by the rules for MIMIC-III.

    The notes are those of `discharge` (MIMIC-IV-Note 2.2), the outcomes of `admissions`, `diagnoses_icd` and
    `procedures_icd` (MIMIC-IV). The definition is `strict` of `Mimic3Outcomes`, the only one: the published one looks
    for blank lines without spaces, which MIMIC-IV's notes do not have. MIMIC-IV has no newborns, and no ISERROR.

    id = HADM_ID, group = SUBJECT_ID (of patients with the same admission note, the lowest), both as whole numbers;
    records are ordered by HADM_ID. labels: one of `outcome_labels.SURVIVAL` or `outcome_labels.STAYS`, or the codes in
    the table's order (`versioned_codes`); admissions without any are dropped. Attributes: `mimic4.ATTRIBUTES`. Every
    reason for which notes or admissions are dropped is counted in a notice.

    Memory holds the discharge notes of known admissions, and one block of a table. The data use agreement forbids
    passing the notes to third parties, so `remote_allowed` is False.

    Args:
        root: folder with `hosp` and `note`, or what they hold (`mimic4.table4_path`); None for generated notes.
        outcome: `mortality` in hospital, `length_of_stay` of those who lived, `diagnoses_3digit` or
            `procedures_3digit`.
        versions: `apart` labels `icd9:401` and `icd10:I10`; `icd9` and `icd10` map the other version's codes.
        gem: file of CMS's General Equivalence Mappings, of the codes of this outcome, from the other version.
        generated: generates the tables if `root` is None.

    Raises:
        ConfigError: a setting is out of range, or neither `root` nor `generated` is set.
    """

    def __init__(
        self,
        root: str | Path | None,
        outcome: Outcome,
        versions: Versions = "apart",
        gem: str | Path | None = None,
        generated: SyntheticMimic4 | None = None,
    ) -> None:
        if outcome not in get_args(Outcome):
            raise ConfigError(f"outcome must be one of {', '.join(get_args(Outcome))}, got {outcome!r}")
        if versions not in get_args(Versions):
            raise ConfigError(f"versions must be one of {', '.join(get_args(Versions))}, got {versions!r}")
        if outcome in TABLES and (versions == "apart") != (gem is None):
            raise ConfigError(
                f"gem must name the file that maps codes if, and only if, versions is icd9 or icd10, got gem={gem} and "
                f"versions={versions}; set both, or neither"
            )
        super().__init__(root, generated, "the folder of MIMIC-IV's files")
        self.outcome, self.versions = outcome, versions
        self.gem = None if gem is None or outcome not in TABLES else Path(gem)

    def check(self) -> None:
        """Check also that every table is there."""
        super().check()
        if self.root is not None:
            self.paths(self.root)

    def records(self) -> Records:
        """See `Corpus.records`; the errors of the notes, the labels and the mapping apply."""
        root = self.folder()
        admissions = stays4(root, COLUMNS.get(self.outcome, []))
        notes, notices = discharge_notes(root, admissions)
        joined, dropped = join_summaries(notes, "strict")
        del notes
        labels, unlabelled = self._labels(root, admissions.join(joined, on="HADM_ID", how="semi"))
        labelled = joined.join(labels, on="HADM_ID", how="inner", maintain_order="left")
        stays, cut = as_admission_notes(labelled, "strict", self.outcome == "mortality")
        stays, straddling = group_stays(stays, "strict")
        notices = [*([] if self.root else [GENERATED]), *notices, *dropped, *unlabelled, *cut, *straddling]
        if not stays.height:
            raise DataError(
                f"a corpus must have a note, every admission was dropped: {'; '.join(notices)}; check the tables"
            )
        attributes, unknown = attributes4(root)
        frame = stays.join(attributes, on="HADM_ID", how="left", maintain_order="left").select(
            pl.col("HADM_ID").cast(pl.String).alias("id"),
            "group",
            pl.col("TEXT").alias("text"),
            "labels",
            "attributes",
        )
        return Records(frame, (*notices, *unknown))

    def paths(self, root: Path | None) -> list[Path]:
        """See `FolderCorpus.paths`."""
        mapping = [self.gem] if self.gem else []
        if root is None:
            return mapping
        tables = ["discharge", "admissions", "patients", *([TABLES[self.outcome]] if self.outcome in TABLES else [])]
        return [*(table4_path(root, table) for table in tables), *mapping]

    def _labels(self, root: Path, admissions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        if self.outcome == "mortality":
            return mortality(admissions)
        if self.outcome == "length_of_stay":
            return length_of_stay(admissions, "strict")
        table = TABLES[self.outcome]
        rows, notices = versioned_codes(root, table, self.versions, self.gem)
        coded = admissions.join(codes(rows), on="HADM_ID", how="inner")
        without = count_dropped(admissions, coded, f"admissions dropped: no code in {table}")
        return coded.select("HADM_ID", "labels"), [*notices, *without]
