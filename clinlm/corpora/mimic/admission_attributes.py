"""What the tables say of an admission beside its notes, as far as they are there."""

from pathlib import Path

import polars as pl

from clinlm.corpora.mimic.ages import completed_years
from clinlm.corpora.mimic.mimic3 import ATTRIBUTES, scan, table_path
from clinlm.files.delimited import read_header
from clinlm.files.pandas_values import present, whole

_STAYS = ("SUBJECT_ID", "ADMITTIME", "ADMISSION_TYPE", "INSURANCE", "LANGUAGE", "ETHNICITY")
_PEOPLE = ("GENDER", "DOB")


def patients(root: Path) -> Path | None:
    """The file of PATIENTS, or None: outcomes do not need it.

    Raises:
        ValueError: it stands in several files.
    """
    try:
        return table_path(root, "PATIENTS")
    except FileNotFoundError:
        return None


def attributes(root: Path) -> pl.DataFrame:
    """HADM_ID as a number and the struct `attributes` with the fields of `clinlm.corpora.mimic.mimic3.ATTRIBUTES`.

    What a table or a column that is not there would say is null, and so is an age without two dates.
    """
    stays = _read(root, "ADMISSIONS", "HADM_ID", _STAYS).with_columns(whole("SUBJECT_ID"))
    if patients(root) is None:
        people = pl.DataFrame(schema={"SUBJECT_ID": pl.Int64(), **{name: pl.String() for name in _PEOPLE}})
    else:
        people = _read(root, "PATIENTS", "SUBJECT_ID", _PEOPLE)
    joined = stays.join(people, on="SUBJECT_ID", how="left")
    day = {name: pl.col(name).str.head(10).str.to_date("%Y-%m-%d", strict=False) for name in ("DOB", "ADMITTIME")}
    fields = [present(name.upper()).str.strip_chars().alias(name) for name in ATTRIBUTES if name != "age"]
    age = completed_years(day["DOB"], day["ADMITTIME"]).alias("age")
    return joined.select("HADM_ID", age, *fields).select("HADM_ID", pl.struct(ATTRIBUTES).alias("attributes"))


def _read(root: Path, table: str, key: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """The first row of every `key`, with `columns`, null where the table lacks them."""
    there = {name.upper() for name in read_header(table_path(root, table))}
    frame = scan(root, table, [key, *(name for name in columns if name in there)]).collect(engine="streaming")
    lacking = [pl.lit(None, dtype=pl.String).alias(name) for name in columns if name not in there]
    rows = frame.with_columns(whole(key), *lacking).drop_nulls(key)
    return rows.unique(key, keep="first", maintain_order=True)
