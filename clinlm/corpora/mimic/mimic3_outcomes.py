"""MIMIC-III: outcomes of an admission, predicted from what is known at admission."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import GENERATED, Records, count_dropped, count_notice
from clinlm.corpora.folder_corpus import FolderCorpus
from clinlm.corpora.mimic.admission_notes import Definition
from clinlm.corpora.mimic.discharge_summaries import stays, summaries
from clinlm.corpora.mimic.mimic3 import ATTRIBUTES, completed_years, scan_table, table_path
from clinlm.corpora.mimic.outcome_labels import codes, length_of_stay, mortality, short_codes
from clinlm.corpora.mimic.stay_notes import as_admission_notes, group_stays
from clinlm.corpora.split import SPLITS
from clinlm.corpora.synthetic.synthetic import Synthetic
from clinlm.files.delimited import read_header, scan_delimited
from clinlm.files.pandas_values import non_missing, require_whole_numbers, whole_number

Outcome = Literal["mortality", "length_of_stay", "diagnoses_3digit", "procedures_3digit"]

CODES = {"diagnoses_3digit": "DIAGNOSES_ICD", "procedures_3digit": "PROCEDURES_ICD"}
"""The tables of the outcomes that are codes."""

COLUMNS = {
    "mortality": ["HOSPITAL_EXPIRE_FLAG"],
    "length_of_stay": ["HOSPITAL_EXPIRE_FLAG", "ADMITTIME", "DISCHTIME"],
}
"""Columns of ADMISSIONS that the other outcomes come from."""


LIST_FILES = dict(zip(("mimic_train.csv", "mimic_val.csv", "mimic_test.csv"), SPLITS, strict=True))
"""The lists, and the split of each. A later list overrides an earlier one, so that test patients never train."""

_STAYS = ("SUBJECT_ID", "ADMITTIME", "ADMISSION_TYPE", "INSURANCE", "LANGUAGE", "ETHNICITY")
_PEOPLE = ("GENDER", "DOB")


@final
class Mimic3Outcomes(FolderCorpus):
    """One record per admission: its admission note and its outcome (the four outcome tasks of OptimCLM).

    Source: van Aken et al., 2021, EACL, https://aclanthology.org/2021.eacl-main.75, by the rules of its public code
    (github.com/bvanaken/clinical-outcome-prediction), documented where they are implemented: `discharge_summaries`
    (which notes form the text), `admission_notes` (sections known at admission, mentions of death), `outcome_labels`,
    `clinlm.files.pandas_values` (how pandas reads the tables).

    id = HADM_ID, group = SUBJECT_ID, both as whole numbers; records are ordered by HADM_ID. labels: one of
    `outcome_labels.SURVIVAL` or `outcome_labels.STAYS`, or the codes in the table's order; admissions without any are
    dropped. Attributes as `Mimic3`, null where a table or column is missing. Every reason for which notes or admissions
    are dropped is counted in a notice.

    The published definition leaks; `strict` departs from it in these cases:

    - notes with ISERROR = 1 are used: dropped.
    - codes lose leading zeros when pandas reads them as numbers, so that 038 and 389 fall together: kept as text.
    - an empty section includes the next one, and a section that no usable header follows includes hospital course,
      procedures and discharge diagnoses: a section ends at any header line.
    - addenda, written after discharge, are searched for sections: only reports are.
    - mentions of death are found by few wordings: a note with any wording is dropped (most are of patients who died, so
      mortality among the rest is lower than in the tables).
    - patients with the same admission note may be in two splits: they share a group.
    - ADMISSION_TYPE is compared with NEWBORN in capitals: in any case.
    - stays that end before they begin are the shortest class: dropped.

    In both definitions the history, written at discharge, may name diagnoses and procedures that are labels; V codes
    keep four characters, one more than their category; ISERROR, ADMISSION_TYPE and the flags are not verified.

    Without `root` the tables of `generated` are read, with a notice.

    Args:
        root: folder of NOTEEVENTS, ADMISSIONS and the table of the codes as .csv or .csv.gz; None for generated notes.
        outcome: `mortality` in hospital, `length_of_stay` of those who lived, `diagnoses_3digit` or
            `procedures_3digit`.
        definition: `published`, or `strict` as above.
        lists_root: folder of the published split, mimic_train.csv, mimic_val.csv and mimic_test.csv, each with a column
            SUBJECT_ID; patients in no list are dropped, those in several are assigned to test before validation before
            train (the published code writes them into each file). None leaves the split to the task.
        generated: generates the tables if `root` is None.

    Raises:
        ConfigError: a setting is out of range, or neither `root` nor `generated` is set.
    """

    def __init__(
        self,
        root: str | Path | None,
        outcome: Outcome,
        definition: Definition = "published",
        lists_root: str | Path | None = None,
        generated: Synthetic | None = None,
    ) -> None:
        if outcome not in (*COLUMNS, *CODES):
            raise ConfigError(f"outcome must be one of {', '.join((*COLUMNS, *CODES))}, got {outcome!r}")
        if definition not in ("published", "strict"):
            raise ConfigError(f"definition must be published or strict, got {definition!r}")
        super().__init__(root, generated, "the folder of MIMIC-III's tables")
        self.outcome, self.definition = outcome, definition
        self.lists_root = None if lists_root is None else Path(lists_root)

    def records(self) -> Records:
        """See `Corpus.records`; the errors of `summaries`, of the labels and of the lists apply."""
        root = self.folder()
        notices = [] if self.root else [GENERATED]
        admissions, newborns = stays(root, COLUMNS.get(self.outcome, []), self.definition)
        notes, dropped = summaries(root, admissions, self.definition)
        labels, unlabelled = self._labels(root, admissions.join(notes, on="HADM_ID", how="semi"))
        labelled = notes.join(labels, on="HADM_ID", how="inner", maintain_order="left")
        strict = self.definition == "strict"
        notes, cut = as_admission_notes(labelled, self.definition, self.outcome == "mortality", compare=strict)
        notes, splits, straddling = self._grouped(notes)
        notices += [*newborns, *dropped, *unlabelled, *cut, *straddling]
        if not notes.height:
            raise DataError(
                f"a corpus must have a note, every admission was dropped: {'; '.join(notices)}; check the tables"
            )
        frame = notes.join(_attributes(root), on="HADM_ID", how="left", maintain_order="left").select(
            pl.col("HADM_ID").cast(pl.String).alias("id"),
            "group",
            pl.col("TEXT").alias("text"),
            "labels",
            "attributes",
        )
        return Records(frame, tuple(notices), splits)

    def codes(self) -> list[str]:
        """Return every code of the table, cut, by first appearance, also of admissions without a note.

        Raises:
            ConfigError: the outcome is not a code; as `outcome_labels.short_codes`.
        """
        if self.outcome not in CODES:
            raise ConfigError(f"outcome must be one of {', '.join(CODES)}, got {self.outcome}")
        rows, _ = short_codes(self.folder(), CODES[self.outcome], self.definition)
        return rows["code"].unique(maintain_order=True).to_list()

    def paths(self, root: Path | None) -> list[Path]:
        """See `FolderCorpus.paths`."""
        lists = _list_paths(self.lists_root) if self.lists_root else []
        if root is None:
            return lists
        tables = ["NOTEEVENTS", "ADMISSIONS", *(table for name, table in CODES.items() if name == self.outcome)]
        people = _patients_path(root)
        return [*(table_path(root, table) for table in tables), *([people] if people else []), *lists]

    def _labels(self, root: Path, admissions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        if self.outcome == "mortality":
            return mortality(admissions)
        if self.outcome == "length_of_stay":
            return length_of_stay(admissions, self.definition)
        table = CODES[self.outcome]
        rows, notices = short_codes(root, table, self.definition)
        coded = admissions.join(codes(rows), on="HADM_ID", how="inner")
        without = count_dropped(admissions, coded, f"admissions dropped: no code in {table}")
        return coded.select("HADM_ID", "labels"), [*notices, *without]

    def _grouped(self, notes: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str] | None, list[str]]:
        """Add `group`; with published lists, return the split of every group and keep only groups in the lists."""
        notes, notices = group_stays(notes, self.definition)
        if self.lists_root is None:
            return notes, None, notices
        lists, several = read_patient_lists(self.lists_root)
        splits = split_of_groups(notes["SUBJECT_ID"].to_list(), notes["group"].to_list(), lists)
        listed = notes.filter(pl.col("group").is_in(list(splits)))
        notices += count_notice(
            several, len(lists), "patients are in several lists: test before validation before train"
        )
        notices += count_dropped(notes, listed, "admissions dropped: their patient is in no list")
        return listed, splits, notices


def _list_paths(root: Path) -> list[Path]:
    """Return the three files.

    Raises:
        MissingFileError: one of them does not exist.
    """
    for name in LIST_FILES:
        if not (root / name).is_file():
            raise MissingFileError(
                f"lists_root must have {', '.join(LIST_FILES)}, {root} has no {name}; set lists_root"
            )
    return [root / name for name in LIST_FILES]


def read_patient_lists(root: Path) -> tuple[dict[int, str], int]:
    """Return the split of every SUBJECT_ID in the lists, and the number of patients in several lists."""
    found: dict[int, str] = {}
    several: set[int] = set()
    for path, split in zip(_list_paths(root), LIST_FILES.values(), strict=True):
        table = scan_delimited(path, ["SUBJECT_ID"]).collect(engine="streaming")
        require_whole_numbers(table, "SUBJECT_ID", path.name)
        people = set(table.select(whole_number("SUBJECT_ID"))["SUBJECT_ID"].drop_nulls())
        several |= people & found.keys()
        found |= dict.fromkeys(people, split)
    return found, len(several)


def split_of_groups(patients: Sequence[int], groups: Sequence[str], lists: Mapping[int, str]) -> dict[str, str]:
    """Return the split of every group with a patient in the lists; of several, the last of `SPLITS`."""
    split: dict[str, str] = {}
    for patient, group in zip(patients, groups, strict=True):
        if patient in lists:
            split[group] = max(lists[patient], split.get(group, SPLITS[0]), key=SPLITS.index)
    return split


def _patients_path(root: Path) -> Path | None:
    """Return the file of PATIENTS, or None: outcomes do not need it.

    Raises:
        DataError: it is in several files.
    """
    try:
        return table_path(root, "PATIENTS")
    except FileNotFoundError:
        return None


def _attributes(root: Path) -> pl.DataFrame:
    """Return HADM_ID as a number and the struct `attributes` with the fields `ATTRIBUTES`.

    Fields of a missing table or column are null, and so is an age without two dates.
    """
    stays = _first_rows(root, "ADMISSIONS", "HADM_ID", _STAYS).with_columns(whole_number("SUBJECT_ID"))
    if _patients_path(root) is None:
        people = pl.DataFrame(schema={"SUBJECT_ID": pl.Int64(), **{name: pl.String() for name in _PEOPLE}})
    else:
        people = _first_rows(root, "PATIENTS", "SUBJECT_ID", _PEOPLE)
    joined = stays.join(people, on="SUBJECT_ID", how="left")
    day = {name: pl.col(name).str.head(10).str.to_date("%Y-%m-%d", strict=False) for name in ("DOB", "ADMITTIME")}
    fields = [non_missing(name.upper()).str.strip_chars().alias(name) for name in ATTRIBUTES if name != "age"]
    age = completed_years(day["DOB"], day["ADMITTIME"])
    return joined.select("HADM_ID", age, *fields).select("HADM_ID", pl.struct(ATTRIBUTES).alias("attributes"))


def _first_rows(root: Path, table: str, key: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return the first row of every `key`, with `columns`, null where the table lacks them."""
    there = {name.upper() for name in read_header(table_path(root, table))}
    frame = scan_table(root, table, [key, *(name for name in columns if name in there)]).collect(engine="streaming")
    lacking = [pl.lit(None, dtype=pl.String).alias(name) for name in columns if name not in there]
    rows = frame.with_columns(whole_number(key), *lacking).drop_nulls(key)
    return rows.unique(key, keep="first", maintain_order=True)
