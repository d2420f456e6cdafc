"""MIMIC-III: the notes of an admission, labelled with its ICD-9 codes.

The user provides the tables, under PhysioNet's data use agreement (Johnson et al., 2016,
https://physionet.org/content/mimiciii/).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError, MissingFileError
from clinlm.corpora.base import (
    Corpus,
    NearDuplicates,
    Records,
    check_near_duplicates,
    count_dropped,
    count_notice,
    digest_files,
)
from clinlm.corpora.mimic.icd9 import normalize_icd9
from clinlm.corpora.table_rows import age_text, is_blank
from clinlm.files.columns import require_columns, shown
from clinlm.files.delimited import read_header, scan_delimited

CODES = {"diagnoses": "DIAGNOSES_ICD"}
"""The table of each kind of codes."""

ATTRIBUTES = ("gender", "age", "ethnicity", "insurance", "language", "admission_type")

_NUMBERS = ("ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ISERROR")
"""Columns of whole numbers, which tools that know only floats save as 101.0."""

_BREAK = "\n\n"
_PARTS = 16
"""Notes of so many shares of the admissions are joined one after another, as joining takes copies of them."""


def table_path(root: Path, table: str) -> Path:
    """Return the file of a MIMIC-III table in `root`: `TABLE.csv` or `TABLE.csv.gz`, in capitals or lower case.

    Raises:
        MissingFileError: neither exists.
        DataError: more than one exists.
    """
    names = [name + end for name in (table, table.lower()) for end in (".csv", ".csv.gz")]
    present = {path.name for path in root.iterdir()} if root.is_dir() else set()
    found = [name for name in names if name in present]
    if not found:
        there = ", ".join(sorted(name for name in present if ".csv" in name)[:20]) or "no .csv file"
        raise MissingFileError(
            f"root must have {table}.csv or {table}.csv.gz, {root} has {there}; set root to the folder of its tables"
        )
    if len(found) > 1:
        raise DataError(f"a table must be one file, {root} has {' and '.join(found)}; keep one of them")
    return root / found[0]


def scan_table(root: Path, table: str, columns: Sequence[str]) -> pl.LazyFrame:
    """Return columns of a MIMIC-III table as a lazy frame of strings, read in bounded memory; 101.0 is read as 101.

    Args:
        root: folder of the tables.
        table: the table's name in capitals, such as `NOTEEVENTS`.
        columns: names in capitals, whatever the case of the header.

    Raises:
        MissingFileError: the table does not exist.
        DataError: at once, if a column is missing; on collecting, if a record is broken (`scan_delimited`).
    """
    return scan_columns(table_path(root, table), columns, f"set root to a folder with MIMIC-III's own {table}")


def scan_columns(path: Path, columns: Sequence[str], remedy: str) -> pl.LazyFrame:
    """Return columns of the file of a table of MIMIC as `scan_table` does; `remedy` is what to do if one is missing."""
    actual = {name.upper(): name for name in read_header(path)}
    require_columns(path, list(actual), columns, remedy)
    chosen = [actual[column] for column in columns]
    frame = scan_delimited(path, chosen).rename(dict(zip(chosen, columns, strict=True)))
    return frame.with_columns(pl.col(name).str.strip_suffix(".0") for name in columns if name in _NUMBERS)


def collect_notes(notes: pl.LazyFrame, reasons: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Collect rows of NOTEEVENTS, with the first reason to drop a note, or null, in the column `reason`.

    Notes to drop are kept for the count, without their TEXT.

    Args:
        notes: with the column TEXT.
        reasons: name -> condition, by precedence.
    """
    reason = pl.coalesce(pl.when(condition).then(pl.lit(name)) for name, condition in reasons.items())
    text = pl.when(pl.col("reason").is_null()).then(pl.col("TEXT")).alias("TEXT")
    return notes.with_columns(reason.alias("reason")).with_columns(text).collect(engine="streaming")


def drop_notes(notes: pl.DataFrame, reasons: Iterable[str]) -> tuple[pl.DataFrame, list[str]]:
    """Return the notes of `collect_notes` without a reason to drop them, and a notice per reason."""
    counts = dict(notes["reason"].drop_nulls().value_counts().iter_rows())
    notices = [count_notice(counts.get(name, 0), notes.height, f"notes dropped: {name}") for name in reasons]
    return notes.filter(pl.col("reason").is_null()), list(chain.from_iterable(notices))


def check_notes(root: Path, notes: pl.DataFrame, categories: Sequence[str]) -> None:
    """Check CATEGORY, without white space around it, and ISERROR of rows of NOTEEVENTS.

    Raises:
        DataError: there is no note, a category has none, or ISERROR is not 1, 0 or empty.
    """
    missing = set(categories) - set(notes["CATEGORY"])
    if missing or not notes.height:
        column = pl.col("CATEGORY").str.strip_chars().unique()
        there = scan_table(root, "NOTEEVENTS", ["CATEGORY"]).select(column).collect(engine="streaming")["CATEGORY"]
        raise DataError(
            f"every category must have a note, NOTEEVENTS has none of {sorted(missing)}; "
            f"it has {shown(sorted(there.drop_nulls())) or 'no note'}; set categories to some of them"
        )
    strange = notes.filter(~pl.col("ISERROR").fill_null("").is_in(["", "0", "1"])).height
    if strange:
        raise DataError(f"ISERROR must be 1, 0 or empty, NOTEEVENTS has {strange:,} notes with another; repair them")


def completed_years(born: pl.Expr, moment: pl.Expr) -> pl.Expr:
    """Return the age at `moment` in completed years, as `age_text`.

    MIMIC-III moves births of patients older than 89 back by 300 years.
    """
    birthday_to_come = moment.dt.strftime("%m%d") < born.dt.strftime("%m%d")
    years = moment.dt.year() - born.dt.year() - birthday_to_come.cast(pl.Int32)
    return age_text(years)


@final
class Mimic3(Corpus):
    """One record per admission of MIMIC-III: its notes of the chosen categories, joined, and its ICD-9 codes.

    id = HADM_ID, group = SUBJECT_ID, labels = the admission's distinct ICD-9 codes by SEQ_NUM, as text with leading
    zeros (see `normalize_icd9`). Records are sorted by id. Whatever is dropped is counted in a notice.

    - Dropped: notes with ISERROR = 1, without HADM_ID or text, or equal to another note of the admission.
    - Text: the admission's notes by CHARTDATE, then ROW_ID, with a blank line between; those with DESCRIPTION
      "Addendum" come last, as the tables do not link them to reports. Admissions with addenda only are kept.
    - Attributes: gender, age, ethnicity, insurance, language and admission_type as in the tables. Age is in completed
      years at ADMITTIME, from 90 on "90+". A missing value, or an age before birth, is null.

    Memory holds the kept notes and one block of the table. The data use agreement forbids passing the notes to third
    parties, so `remote_allowed` is False.

    Args:
        root: folder of NOTEEVENTS, DIAGNOSES_ICD, ADMISSIONS and PATIENTS as .csv or .csv.gz.
        codes: which codes are the labels: `diagnoses`.
        digits: characters of a code to keep, V and E codes one more, as in OptimCLM's public definition with 3. (The
            ICD-9 category of a V code is `V` and two digits; four characters are kept as published.) None keeps all.
        categories: values of CATEGORY to keep; spaces around the table's own are ignored ("Physician ").
        near_duplicates: `count`, `merge` or `ignore` those of other patients; see `clinlm.corpora.repeats`.
    """

    remote_allowed = False

    def __init__(
        self,
        root: str | Path,
        codes: Literal["diagnoses"] = "diagnoses",
        digits: int | None = None,
        categories: Sequence[str] = ("Discharge summary",),
        near_duplicates: NearDuplicates = "count",
    ) -> None:
        if codes not in CODES:
            raise ConfigError(f"codes must be one of {', '.join(CODES)}, got {codes!r}")
        if digits is not None and digits < 1:
            raise ConfigError(f"digits must be >= 1, got {digits}; set 3 for ICD-9 categories")
        if isinstance(categories, str) or not categories:
            raise ConfigError(
                f"categories must be a list of at least one name, got {categories!r}; set [Discharge summary]"
            )
        self.root: Path = Path(root)
        self.near_duplicates = check_near_duplicates(near_duplicates)
        self.codes = CODES[codes]
        self.digits = digits
        self.categories = tuple(categories)

    def records(self) -> Records:
        """See `Corpus.records`; the errors of `scan` apply to each of the four tables."""
        texts, dropped = self._texts()
        labels, unlabelled = self._labels(texts)
        people, unknown = self._people(texts)
        frame = texts.join(labels, on="id", how="left").join(people, on="id", how="left").sort("id")
        frame = frame.select(
            "id",
            "group",
            "text",
            pl.col("labels").fill_null(pl.lit([], dtype=pl.List(pl.String))),
            pl.struct(ATTRIBUTES).alias("attributes"),
        )
        return Records(frame, (*dropped, *unlabelled, *unknown))

    def fingerprint(self) -> str:
        return digest_files(table_path(self.root, t) for t in ("NOTEEVENTS", self.codes, "ADMISSIONS", "PATIENTS"))

    def _texts(self) -> tuple[pl.DataFrame, list[str]]:
        """Return one row per admission with the columns id, group and text."""
        columns = ["ROW_ID", "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CATEGORY", "DESCRIPTION", "ISERROR", "TEXT"]
        category = pl.col("CATEGORY").str.strip_chars()
        reasons = {
            "ISERROR = 1": pl.col("ISERROR") == "1",
            "no HADM_ID, so no admission to take codes from": is_blank("HADM_ID"),
            "empty text": is_blank("TEXT"),
        }
        table = scan_table(self.root, "NOTEEVENTS", columns)
        notes = collect_notes(table.filter(category.is_in(self.categories)).with_columns(category), reasons)
        check_notes(self.root, notes, self.categories)
        kept, notices = drop_notes(notes, reasons)
        if not kept.height:
            raise DataError(f"a corpus must have a note, NOTEEVENTS has none: {'; '.join(notices)}; check the table")
        texts, joined = _joined(_numbered(kept, "ROW_ID", "NOTEEVENTS"))
        return texts, notices + joined

    def _labels(self, texts: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        table = scan_table(self.root, self.codes, ["HADM_ID", "SEQ_NUM", "ICD9_CODE"]).collect(engine="streaming")
        table = _numbered(table.filter(pl.col("HADM_ID").is_in(texts["id"].implode())), "SEQ_NUM", self.codes)
        coded = table.filter(~is_blank("ICD9_CODE"))
        normal, rewritten = normalize_icd9(coded["ICD9_CODE"], self.codes)
        coded = coded.with_columns(normal.alias("ICD9_CODE"))
        notices = count_dropped(table, coded, f"rows of {self.codes} dropped: no ICD9_CODE") + rewritten
        if self.digits is not None:
            code = pl.col("ICD9_CODE")
            longer = pl.when(code.str.contains("^[EV]")).then(self.digits + 1).otherwise(self.digits)
            coded = coded.with_columns(code.str.slice(0, longer))
        labels = (
            coded.sort("SEQ_NUM", nulls_last=True, maintain_order=True)
            .group_by(pl.col("HADM_ID").alias("id"))
            .agg(pl.col("ICD9_CODE").unique(maintain_order=True).alias("labels"))
        )
        without = texts.height - labels.height
        if without == texts.height:
            raise DataError(
                f"admissions must have ICD-9 codes, {self.codes} has none for the {without:,} admissions with notes; "
                "check that HADM_ID is written alike in both tables"
            )
        return labels, notices + count_notice(without, texts.height, f"admissions have no code in {self.codes}")

    def _people(self, texts: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        columns = ["SUBJECT_ID", "HADM_ID", "ADMITTIME", "ADMISSION_TYPE", "INSURANCE", "LANGUAGE", "ETHNICITY"]
        stays = scan_table(self.root, "ADMISSIONS", columns).collect(engine="streaming")
        patients = scan_table(self.root, "PATIENTS", ["SUBJECT_ID", "GENDER", "DOB"]).collect(engine="streaming")
        for frame, key, table in ((stays, "HADM_ID", "ADMISSIONS"), (patients, "SUBJECT_ID", "PATIENTS")):
            if frame[key].is_duplicated().any():
                raise DataError(f"{table} must have one row per {key}, but some are on several; repair the table")
        keyed = texts.select("id", "group").join(stays, left_on="id", right_on="HADM_ID", how="left")
        differs = keyed.filter(pl.col("group") != pl.col("SUBJECT_ID")).height
        if differs:
            raise DataError(
                f"NOTEEVENTS and ADMISSIONS must agree on SUBJECT_ID, they differ in {differs:,} admissions; repair it"
            )
        strangers = keyed.join(patients, left_on="group", right_on="SUBJECT_ID", how="anti").height
        people = keyed.join(patients, left_on="group", right_on="SUBJECT_ID", how="left")
        aged = _aged(people)
        attributes = [_or_null(name.upper()).alias(name) for name in ATTRIBUTES if name != "age"]
        return aged.select("id", "age", *attributes), [
            *count_notice(people["SUBJECT_ID"].null_count(), people.height, "admissions are not in ADMISSIONS"),
            *count_notice(strangers, people.height, "admissions have no patient in PATIENTS"),
            *count_notice(aged.filter("before_birth").height, people.height, "admissions precede the birth: no age"),
        ]


def _joined(notes: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return one row per admission with the columns id, group and text: copies, so that notes as read can go."""
    subjects = notes.group_by("HADM_ID").agg(
        pl.col("SUBJECT_ID").n_unique(), pl.col("SUBJECT_ID").null_count().alias("n")
    )
    wrong = subjects.filter((pl.col("SUBJECT_ID") > 1) | (pl.col("n") > 0)).height
    if wrong:
        raise DataError(
            f"an admission must have one SUBJECT_ID, {wrong:,} have none or several in NOTEEVENTS; repair it"
        )
    addendum = pl.col("DESCRIPTION").str.strip_chars().str.to_lowercase().eq("addendum").fill_null(False)
    notes = notes.with_columns(addendum.alias("addendum"))
    alone = pl.col("HADM_ID").is_unique()
    several = notes.filter(~alone).sort("addendum", "CHARTDATE", "ROW_ID", nulls_last=True)
    # By hash, as a second copy of all texts would be made to compare them.
    several = several.with_columns(pl.col("TEXT").hash().alias("hash"), pl.col("TEXT").str.len_bytes().alias("bytes"))
    distinct = several.unique(["HADM_ID", "hash", "bytes"], keep="first", maintain_order=True)
    ids = [pl.col("HADM_ID").alias("id"), pl.col("SUBJECT_ID").alias("group")]
    text = pl.col("TEXT").str.strip_chars("\r\n").str.join(_BREAK).alias("text")
    parts = (distinct.filter(pl.col("HADM_ID").hash() % _PARTS == part) for part in range(_PARTS))
    merged = [part.group_by(ids, maintain_order=True).agg(text) for part in parts]
    single = notes.filter(alone).select(*ids, (pl.col("TEXT") + pl.lit("")).alias("text"))
    bare = notes.group_by("HADM_ID").agg(pl.col("addendum").all()).filter("addendum").height
    texts = pl.concat([single, *merged])
    return texts, [
        *count_notice(several.height - distinct.height, notes.height, "notes dropped: repeated in their admission"),
        *count_notice(bare, texts.height, "admissions have addenda only"),
    ]


def _aged(people: pl.DataFrame) -> pl.DataFrame:
    """Add `age` (completed years at admission as text, from 90 on "90+") and `before_birth`."""
    for column in ("DOB", "ADMITTIME"):
        day = pl.col(column).str.head(10).str.to_date("%Y-%m-%d", strict=False)
        wrong = people.filter(~is_blank(column) & day.is_null()).height
        if wrong:
            raise DataError(f"{column} must be YYYY-MM-DD, {wrong:,} values are not; restore PhysioNet's format")
        people = people.with_columns(day.alias(column))
    born, admitted = pl.col("DOB"), pl.col("ADMITTIME")
    age = completed_years(born, admitted)
    return people.with_columns(age, (admitted < born).fill_null(False).alias("before_birth"))


def _numbered(frame: pl.DataFrame, column: str, table: str) -> pl.DataFrame:
    """Return `frame` with `column` as whole numbers; an empty cell is null."""
    number = _or_null(column).cast(pl.Int64, strict=False)
    wrong = frame.filter(~is_blank(column) & number.is_null()).height
    if wrong:
        raise DataError(f"{column} must be a whole number, {table} has {wrong:,} rows with something else; repair them")
    return frame.with_columns(number.alias(column))


def _or_null(column: str) -> pl.Expr:
    return pl.when(~is_blank(column)).then(pl.col(column).str.strip_chars())
