"""The discharge summaries of MIMIC-III, joined to one text an admission by the rules of the clinical outcome tasks."""

from pathlib import Path

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import count_dropped
from clinlm.corpora.mimic.admission_notes import Definition
from clinlm.corpora.mimic.mimic3 import collect_notes, drop_notes, scan_table
from clinlm.files.pandas_values import non_missing, require_whole_numbers, whole_number

_COLUMNS = ["SUBJECT_ID", "HADM_ID", "CHARTDATE", "CATEGORY", "DESCRIPTION", "TEXT"]
_BREAK = "\n\n"
REPORT = "Report"
"""DESCRIPTION of a summary that is no addendum."""


def stays(root: Path, columns: list[str], definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of ADMISSIONS without newborns: HADM_ID as a number and `columns` as strings; and notices.

    Published: ADMISSION_TYPE is exactly NEWBORN, so a missing type stays. Strict: in whichever case.

    Raises:
        DataError: HADM_ID is not a whole number, or is on two rows; as `scan_table`.
    """
    table = scan_table(root, "ADMISSIONS", ["HADM_ID", "ADMISSION_TYPE", *columns]).collect(engine="streaming")
    require_whole_numbers(table, "HADM_ID", "ADMISSIONS")
    table = table.with_columns(whole_number("HADM_ID")).drop_nulls("HADM_ID")
    if table["HADM_ID"].is_duplicated().any():
        raise DataError("ADMISSIONS must have one row per HADM_ID, but some are on several; repair the table")
    kind = pl.col("ADMISSION_TYPE").fill_null("")
    newborn = kind == "NEWBORN" if definition == "published" else kind.str.strip_chars().str.to_uppercase() == "NEWBORN"
    kept = table.filter(~newborn)
    return kept, count_dropped(table, kept, "admissions dropped: newborns")


def summaries(root: Path, admissions: pl.DataFrame, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Return one row per admission, ordered by HADM_ID: HADM_ID and SUBJECT_ID as numbers, and TEXT; and notices.

    - Used are notes of `admissions` with a text and CATEGORY exactly "Discharge summary", by CHARTDATE as text, missing
      dates last. Equal dates keep the table's order (arbitrary in the published code, by pandas' quicksort).
    - Of identical texts, of any admission, the last is kept.
    - The text of an admission is its notes with a blank line between; SUBJECT_ID is that of the last note with
      DESCRIPTION exactly "Report". Admissions without such a note, or without SUBJECT_ID in it, are dropped.

    Strict: notes with ISERROR = 1 are dropped first, and text is taken from reports alone, as addenda are written after
    the discharge.

    Raises:
        DataError: HADM_ID or SUBJECT_ID is not a whole number, or no note is left; as `scan_table`.
    """
    notes, notices = _notes(root, admissions, definition)
    joined, dropped = join_summaries(notes, definition)
    notices += dropped
    if not joined.height:
        raise DataError(
            f"a corpus must have a note, NOTEEVENTS has no usable discharge summary{'; ' * bool(notices)}"
            f"{'; '.join(notices)}; check that CATEGORY, DESCRIPTION and HADM_ID are as in MIMIC-III"
        )
    return joined, notices


def join_summaries(notes: pl.DataFrame, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Join the discharge summaries of every admission as `summaries` says; and notices.

    Args:
        notes: HADM_ID, SUBJECT_ID (numbers), CHARTDATE, DESCRIPTION and TEXT.
        definition: strict takes reports alone.
    """
    distinct = notes.sort("CHARTDATE", nulls_last=True, maintain_order=True).unique(
        "TEXT", keep="last", maintain_order=True
    )
    notices = count_dropped(notes, distinct, "notes dropped: a later note has the same text")
    reports = distinct.filter(pl.col("DESCRIPTION") == REPORT)
    if definition == "strict":
        notices += count_dropped(distinct, reports, "notes dropped: not written as a report")
        distinct = reports
    texts = distinct.group_by("HADM_ID", maintain_order=True).agg(pl.col("TEXT").str.join(_BREAK))
    people = reports.unique("HADM_ID", keep="last", maintain_order=True).select("HADM_ID", "SUBJECT_ID")
    joined = texts.join(people, on="HADM_ID", how="inner")
    named = joined.drop_nulls("SUBJECT_ID").sort("HADM_ID")
    notices += count_dropped(texts, joined, "admissions dropped: no note is a report")
    notices += count_dropped(joined, named, "admissions dropped: their report has no SUBJECT_ID")
    return named, notices


def _notes(root: Path, admissions: pl.DataFrame, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Return the notes to join, in the order of the table, and notices."""
    strict = ["ISERROR"] if definition == "strict" else []
    known = whole_number("HADM_ID").is_in(admissions["HADM_ID"].implode())
    reasons = {
        "no HADM_ID": non_missing("HADM_ID").is_null(),
        "their admission is a newborn's or not in ADMISSIONS": ~known,
        "empty text": non_missing("TEXT").is_null(),
        "ISERROR = 1": whole_number("ISERROR") == 1 if strict else pl.lit(False),
    }
    scanned = scan_table(root, "NOTEEVENTS", [*_COLUMNS, *strict])
    table = collect_notes(scanned.filter(pl.col("CATEGORY") == "Discharge summary"), reasons)
    for column in ("HADM_ID", "SUBJECT_ID"):
        require_whole_numbers(table, column, "NOTEEVENTS")
    kept, notices = drop_notes(table, reasons)
    return kept.with_columns(whole_number("HADM_ID"), whole_number("SUBJECT_ID"), non_missing("CHARTDATE")), notices
