"""MIMIC-IV: its tables, read with the columns that MIMIC-III's readers know.

The user provides the files, under PhysioNet's data use agreement: `hosp/` of MIMIC-IV (Johnson et al., 2023, Scientific
Data 10:1, https://physionet.org/content/mimiciv/) and `note/` of MIMIC-IV-Note 2.2
(https://physionet.org/content/mimic-iv-note/2.2/).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.corpora.base import count_dropped
from clinlm.corpora.mimic.discharge_summaries import REPORT
from clinlm.corpora.mimic.mimic3 import collect_notes, drop_notes, scan_columns
from clinlm.corpora.table_rows import age_text, is_blank
from clinlm.files.pandas_values import non_missing, require_whole_numbers, whole_number

ATTRIBUTES: Final = ("gender", "age", "race", "insurance", "language", "admission_type", "anchor_year_group")

NOTE_TABLES: Final = {"discharge": {"DS": REPORT, "AD": "Addendum"}, "radiology": {"RR": REPORT, "AR": "Addendum"}}
"""Table of notes -> its values of note_type, and what they are called in MIMIC-III."""

_FOLDERS = tuple(f"{depth}{folder}" for depth in ("", "*/", "*/*/") for folder in ("", "hosp/", "note/"))
_STAYS = ("SUBJECT_ID", "ADMITTIME", "ADMISSION_TYPE", "INSURANCE", "LANGUAGE", "RACE")
_PEOPLE = ("GENDER", "ANCHOR_AGE", "ANCHOR_YEAR", "ANCHOR_YEAR_GROUP")


def table4_there(root: Path, table: str) -> bool:
    """Return whether `table4_path` would find a file, or several."""
    return bool(_table4_files(root, table))


def _table4_files(root: Path, table: str) -> list[Path]:
    names = [f"{folder}{table}{end}" for folder in _FOLDERS for end in (".csv", ".csv.gz")]
    return sorted({path for name in names for path in root.glob(name)})


def table4_path(root: Path, table: str) -> Path:
    """Return the file of a table of MIMIC-IV: TABLE.csv or .csv.gz in `root`, or in `hosp` or `note` up to two below.

    So `root` may be the folder into which both were downloaded (mimiciv/3.1/hosp, mimic-iv-note/2.2/note).

    Raises:
        MissingFileError: there is none.
        DataError: there are several, such as of two releases.
    """
    found = _table4_files(root, table)
    if not found:
        raise MissingFileError(
            f"root must have {table}.csv.gz of MIMIC-IV, in itself or in hosp or note below, got {root}, which has "
            "none; set root to the folder that holds both downloads"
        )
    if len(found) > 1:
        raise DataError(
            f"a table must be one file, {root} has {' and '.join(str(path.relative_to(root)) for path in found)}; "
            "keep one of them, or set root to one release"
        )
    return found[0]


def scan_table4(root: Path, table: str, columns: Sequence[str]) -> pl.LazyFrame:
    """Return columns of a table of MIMIC-IV, named in capitals, as `clinlm.corpora.mimic.mimic3.scan_table` does."""
    return scan_columns(
        table4_path(root, table), columns, f"set root to a folder with MIMIC-IV's own {table} (hosp) or notes (note)"
    )


def stays4(root: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Return the rows of admissions: HADM_ID as a number, and `columns` as strings.

    Raises:
        DataError: HADM_ID is not a whole number, or is on two rows; as `scan_table4`.
    """
    table = scan_table4(root, "admissions", ["HADM_ID", *columns]).collect(engine="streaming")
    require_whole_numbers(table, "HADM_ID", "admissions")
    table = table.with_columns(whole_number("HADM_ID")).drop_nulls("HADM_ID")
    if table["HADM_ID"].is_duplicated().any():
        raise DataError("admissions must have one row per HADM_ID, but some are on several; repair the table")
    return table


def discharge_notes(root: Path, admissions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the notes of `discharge` that belong to `admissions`, as `discharge_summaries.join_summaries` takes them.

    Raises:
        DataError: HADM_ID or SUBJECT_ID is not a whole number, or note_type is none of MIMIC-IV's; as `scan_table4`.
    """
    reasons = {
        "no HADM_ID": non_missing("HADM_ID").is_null(),
        "their admission is not in admissions": ~whole_number("HADM_ID").is_in(admissions["HADM_ID"].implode()),
        "empty text": is_blank("TEXT"),
    }
    scanned = scan_table4(root, "discharge", ["SUBJECT_ID", "HADM_ID", "NOTE_TYPE", "CHARTTIME", "TEXT"])
    table = collect_notes(scanned, reasons)
    for column in ("HADM_ID", "SUBJECT_ID"):
        require_whole_numbers(table, column, "discharge")
    kept, notices = drop_notes(table.with_columns(described(table, "discharge")), reasons)
    numbers = [whole_number("HADM_ID"), whole_number("SUBJECT_ID")]
    return kept.with_columns(*numbers, non_missing("CHARTTIME").alias("CHARTDATE")), notices


def described(notes: pl.DataFrame, table: str) -> pl.Series:
    """Return DESCRIPTION, as in MIMIC-III, of notes by their NOTE_TYPE.

    Raises:
        DataError: a type is none of the table's.
    """
    kinds = NOTE_TABLES[table]
    found = notes["NOTE_TYPE"].str.strip_chars().replace_strict(kinds, default=None, return_dtype=pl.String)
    if found.null_count():
        raise DataError(
            f"note_type must be {' or '.join(kinds)}, {table} has {found.null_count():,} notes with something else; "
            "restore PhysioNet's file"
        )
    return found.alias("DESCRIPTION")


def attributes4(root: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return HADM_ID as a number and the struct `attributes` with the fields `ATTRIBUTES`; and notices.

    The age at admission is anchor_age plus the years from anchor_year to that of ADMITTIME, as text; it may be one too
    high, as birthdays are not published. From 90 on it is "90+": anchor_age of everybody above 89 is 91.

    Raises:
        DataError: as `scan_table4`; a patient is on two rows.
    """
    stays = stays4(root, _STAYS).with_columns(whole_number("SUBJECT_ID"))
    people = scan_table4(root, "patients", ["SUBJECT_ID", *_PEOPLE]).collect(engine="streaming")
    people = people.with_columns(whole_number("SUBJECT_ID")).drop_nulls("SUBJECT_ID")
    if people["SUBJECT_ID"].is_duplicated().any():
        raise DataError("patients must have one row per SUBJECT_ID, but some are on several; repair the table")
    known = stays.join(people, on="SUBJECT_ID", how="semi")
    joined = stays.join(people, on="SUBJECT_ID", how="left")
    year = pl.col("ADMITTIME").str.head(4).cast(pl.Int64, strict=False)
    years = whole_number("ANCHOR_AGE") + year - whole_number("ANCHOR_YEAR")
    fields = [non_missing(name.upper()).str.strip_chars().alias(name) for name in ATTRIBUTES if name != "age"]
    frame = joined.select("HADM_ID", age_text(years), *fields)
    frame = frame.select("HADM_ID", pl.struct(ATTRIBUTES).alias("attributes"))
    return frame, count_dropped(stays, known, "admissions have no patient in patients, so no age")
