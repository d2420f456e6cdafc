"""Labels of the clinical outcome tasks, from the tables of MIMIC-III."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import count_dropped, count_notice
from clinlm.corpora.mimic.admission_notes import Definition
from clinlm.corpora.mimic.icd9 import normalize_icd9
from clinlm.corpora.mimic.mimic3 import scan_table, table_path
from clinlm.files.delimited import read_header
from clinlm.files.pandas_values import infer_text, non_missing, require_whole_numbers, whole_number

SURVIVAL = ("survived", "died")
STAYS = ("at most 3 days", "over 3 to 7 days", "over 7 to 14 days", "over 14 days")
"""Names of the classes 0, 1, ... of the published files."""

_FLAGLESS = "admissions dropped: no HOSPITAL_EXPIRE_FLAG"
_DAYS = (3.0, 7.0, 14.0)
_SECONDS_OF_A_DAY = 24 * 60 * 60


def mortality(admissions: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return HADM_ID and `labels`, one of `SURVIVAL`, by HOSPITAL_EXPIRE_FLAG; admissions without it are dropped.

    Raises:
        DataError: a flag is neither 0 nor 1 nor missing.
    """
    flagged = _flagged(admissions)
    labels = pl.concat_list(pl.col("flag").replace_strict({0: SURVIVAL[0], 1: SURVIVAL[1]}, return_dtype=pl.String))
    return flagged.select("HADM_ID", labels.alias("labels")), count_dropped(admissions, flagged, _FLAGLESS)


def length_of_stay(admissions: pl.DataFrame, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Return HADM_ID and `labels`, one of `STAYS`, by DISCHTIME - ADMITTIME in days, rounded to tenths, half to even.

    Stays that ended in death are dropped, and those without a flag. So are those without one of the two times, on which
    the published code fails. Strict: stays that end before they begin are dropped; published: they are the shortest.

    Raises:
        DataError: a time is not a date and a time, some times have a time zone and some have none, or a flag is neither
            0 nor 1 nor missing.
    """
    flagged = _flagged(admissions)
    alive = flagged.filter(pl.col("flag") == 0)
    timed = alive.filter(non_missing("ADMITTIME").is_not_null() & non_missing("DISCHTIME").is_not_null())
    admitted, discharged = _moments(timed, "ADMITTIME"), _moments(timed, "DISCHTIME")
    zones = sum(moment.tzinfo is not None for moment in (*admitted, *discharged))
    if zones not in (0, 2 * timed.height):
        raise DataError(
            f"ADMITTIME and DISCHTIME must all have a time zone or none, {zones:,} of {2 * timed.height:,} times have "
            "one; write them alike"
        )
    seconds = [(end - start).total_seconds() for start, end in zip(admitted, discharged, strict=True)]
    days = np.round(np.asarray(seconds, dtype=np.float64) / _SECONDS_OF_A_DAY, 1)
    labels = [[STAYS[place]] for place in np.searchsorted(_DAYS, days, side="left")]
    frame = timed.select("HADM_ID").with_columns(pl.Series("labels", labels, dtype=pl.List(pl.String)))
    backwards = np.asarray(seconds, dtype=np.float64) < 0
    what = f"kept as {STAYS[0]!r}, as published"
    if definition == "strict":
        frame, what = frame.filter(~backwards), "dropped"
    return frame, [
        *count_dropped(admissions, flagged, _FLAGLESS),
        *count_dropped(flagged, alive, "admissions dropped: the patient died"),
        *count_dropped(alive, timed, "admissions dropped: no ADMITTIME or no DISCHTIME"),
        *count_notice(int(backwards.sum()), timed.height, f"admissions with DISCHTIME before ADMITTIME {what}"),
    ]


def short_codes(root: Path, table: str, definition: Definition) -> tuple[pl.DataFrame, list[str]]:
    """Return HADM_ID and `code` of every row of `table`, cut, each once per admission, in the table's order.

    Diagnoses that start with V or E are cut to 4 characters, all others to 3. Published: the column is read as by
    pandas, so codes may lose their leading zeros (`pandas_values.infer_text`). Strict: codes are text. Both after
    `normalize_icd9`.

    HADM_ID is null in rows without one, or without SUBJECT_ID: their codes count among all codes, for no admission.

    Raises:
        DataError: HADM_ID or SUBJECT_ID is not a whole number, or an admission has several patients; as `scan_table`
            and, if strict, `normalize_icd9`.
    """
    names = ["SUBJECT_ID", "HADM_ID", "ICD9_CODE"]
    rows = scan_table(root, table, names).collect(engine="streaming")
    for column in names[:2]:
        require_whole_numbers(rows, column, table)
    text, rewritten = normalize_icd9(
        rows.select(non_missing("ICD9_CODE"))["ICD9_CODE"], table, lenient=definition == "published"
    )
    code = text
    if definition == "published":
        code = infer_text(text.fill_null(""), len(read_header(table_path(root, table))))
    changed = int((code != text).sum()) if definition == "published" else 0
    rows = rows.select(whole_number("SUBJECT_ID"), whole_number("HADM_ID"), code.alias("code"))
    coded = rows.drop_nulls("code")
    people = coded.drop_nulls().select("HADM_ID", "SUBJECT_ID").unique()
    if people["HADM_ID"].is_duplicated().any():
        raise DataError(f"an admission must have one SUBJECT_ID, but some have several in {table}; repair it")
    longer = pl.col("code").str.contains("^[VE]") & pl.lit(table == "DIAGNOSES_ICD")
    cut = coded.with_columns(pl.col("code").str.slice(0, pl.when(longer).then(4).otherwise(3)))
    stay = pl.when(pl.col("SUBJECT_ID").is_not_null()).then("HADM_ID").alias("HADM_ID")
    return cut.unique(["HADM_ID", "code"], keep="first", maintain_order=True).select(stay, "code"), [
        *count_dropped(rows, coded, f"rows of {table} dropped: no ICD9_CODE"),
        *rewritten,
        *count_notice(changed, coded.height, f"codes of {table} changed: read as numbers, they lose leading zeros"),
    ]


def codes(rows: pl.DataFrame) -> pl.DataFrame:
    """Return HADM_ID and `labels`, the codes of each admission, from the rows of `short_codes`."""
    return rows.drop_nulls("HADM_ID").group_by("HADM_ID", maintain_order=True).agg(pl.col("code").alias("labels"))


def _flagged(admissions: pl.DataFrame) -> pl.DataFrame:
    flag = whole_number("HOSPITAL_EXPIRE_FLAG")
    wrong = admissions.filter(non_missing("HOSPITAL_EXPIRE_FLAG").is_not_null() & ~flag.is_in([0, 1]).fill_null(False))
    if wrong.height:
        raise DataError(
            f"HOSPITAL_EXPIRE_FLAG must be 0 or 1, {wrong.height:,} admissions have another value; repair ADMISSIONS"
        )
    return admissions.with_columns(flag.alias("flag")).drop_nulls("flag")


def _moments(frame: pl.DataFrame, column: str) -> list[datetime]:
    try:
        return [datetime.fromisoformat(cell.strip()) for cell in frame[column]]
    except ValueError:
        raise DataError(
            f"{column} must be YYYY-MM-DD HH:MM:SS, ADMISSIONS has something else; restore PhysioNet's format"
        ) from None
