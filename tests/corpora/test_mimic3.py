"""Laws of the MIMIC-III reader, on tables small enough to work out by hand."""

import csv
import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from clinlm.config.errors import DataError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.mimic import mimic3
from clinlm.corpora.mimic.icd9 import normalize_icd9
from clinlm.corpora.mimic.mimic3 import Mimic3

Row = Sequence[object]
HEADERS = {
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "ADMISSIONS": "SUBJECT_ID HADM_ID ADMITTIME DISCHTIME ADMISSION_TYPE INSURANCE LANGUAGE ETHNICITY",
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB",
}
SUMMARY = "Discharge summary"


def note(
    row: int, subject: object, stay: object, text: str, kind: str = "Report", date: str = "2101-03-04", error: str = ""
) -> Row:
    return (row, subject, stay, date, "", "", SUMMARY, kind, "", error, text)


def stay(subject: int, stay: int, admitted: str = "2101-03-01 12:00:00") -> Row:
    return (subject, stay, admitted, "2101-03-05 09:00:00", "EMERGENCY", "Medicare", "", "WHITE")


def code(stay: int, place: object, value: str) -> Row:
    return (1, 1, stay, place, value)


NOTES = [note(1, 1, 10, "one"), note(2, 2, 20, "two")]
CODES = [code(10, 1, "4019"), code(20, 1, "25000")]
STAYS = [stay(1, 10), stay(2, 20)]
PATIENTS = [(1, 1, "F", "2040-06-01 00:00:00"), (2, 2, "M", "1801-01-01 00:00:00")]


def write(
    root: Path,
    notes: Sequence[Row] = NOTES,
    codes: Sequence[Row] = CODES,
    stays: Sequence[Row] = STAYS,
    patients: Sequence[Row] = PATIENTS,
    packed: bool = False,
    lower: bool = False,
) -> Path:
    root.mkdir(exist_ok=True)
    for (table, names), rows in zip(HEADERS.items(), (notes, codes, stays, patients), strict=True):
        name = (table.lower() if lower else table) + (".csv.gz" if packed else ".csv")
        opener = gzip.open if packed else open
        with opener(root / name, "wt", newline="", encoding="utf-8") as file:
            header = (names.lower() if lower else names).split()
            csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return root


def column(root: Path, name: str, **settings: object) -> dict[str, object]:
    frame = Mimic3(root, **settings).records().frame  # type: ignore[arg-type]
    return dict(zip(frame["id"], frame[name].to_list(), strict=True))


def attribute(root: Path, name: str) -> dict[str, object]:
    frame = Mimic3(root).records().frame.unnest("attributes")
    return dict(zip(frame["id"], frame[name], strict=True))


def test_an_admission_is_a_record(tmp_path: Path) -> None:
    records = Mimic3(write(tmp_path)).records()
    assert records.frame.columns == list(COLUMNS)
    assert records.notices == ()
    assert records.frame.drop("attributes").rows() == [("10", "1", "one", ["4019"]), ("20", "2", "two", ["25000"])]
    assert records.frame["attributes"].to_list() == [
        {
            "gender": "F",
            "age": "60",
            "ethnicity": "WHITE",
            "insurance": "Medicare",
            "language": None,
            "admission_type": "EMERGENCY",
        },
        {
            "gender": "M",
            "age": "90+",
            "ethnicity": "WHITE",
            "insurance": "Medicare",
            "language": None,
            "admission_type": "EMERGENCY",
        },
    ]
    assert not Mimic3.remote_allowed


@pytest.mark.parametrize(("packed", "lower"), [(True, False), (False, True), (True, True)])
def test_gzip_and_lower_case_read_the_same(tmp_path: Path, packed: bool, lower: bool) -> None:
    plain = Mimic3(write(tmp_path / "plain")).records()
    other = Mimic3(write(tmp_path / "other", packed=packed, lower=lower)).records()
    assert other.frame.equals(plain.frame)


def test_reports_come_first_then_addenda_by_date_then_row(tmp_path: Path) -> None:
    notes = [
        note(9, 1, 10, "addendum late\n", "Addendum", "2101-03-09"),
        note(10, 1, 10, "addendum row 10", "Addendum ", "2101-03-02"),
        note(8, 1, 10, "addendum row 8", "Addendum", "2101-03-02"),
        note(7, 1, 10, "report b", date="2101-03-05"),
        note(6, 1, 10, "\nreport a\n\n"),
        note(5, 2, 20, "alone\n"),
    ]
    texts = column(write(tmp_path, notes), "text")
    assert texts["10"] == "report a\n\nreport b\n\naddendum row 8\n\naddendum row 10\n\naddendum late"
    assert texts["20"] == "alone\n"


def test_dropped_notes_are_counted_by_reason(tmp_path: Path) -> None:
    notes = [
        *NOTES,
        note(3, 1, 10, "wrong", error="1"),
        note(4, 1, "", "outpatient"),
        note(5, 1, 10, " \n"),
        note(6, 1, 10, "one"),
        note(7, 3, 30, "only an addendum", "Addendum"),
    ]
    records = Mimic3(write(tmp_path, notes)).records()
    assert records.frame["text"].to_list() == ["one", "two", "only an addendum"]
    assert records.notices == (
        "1 of 7 notes dropped: ISERROR = 1",
        "1 of 7 notes dropped: no HADM_ID, so no admission to take codes from",
        "1 of 7 notes dropped: empty text",
        "1 of 4 notes dropped: repeated in their admission",
        "1 of 3 admissions have addenda only",
        "1 of 3 admissions have no code in DIAGNOSES_ICD",
        "1 of 3 admissions are not in ADMISSIONS",
        "1 of 3 admissions have no patient in PATIENTS",
    )


def test_codes_stay_text_in_the_order_of_seq_num(tmp_path: Path) -> None:
    codes = [
        code(10, 10, "0030"),
        code(10, 9, "V3000"),
        code(10, 2, "E8500"),
        code(10, 1, " 00845"),
        code(10, 11, "00845"),
        code(10, "", "4019"),
        code(10, 3, ""),
        code(20, 1, "0030"),
    ]
    root = write(tmp_path, codes=codes)
    assert column(root, "labels") == {"10": ["00845", "E8500", "V3000", "0030", "4019"], "20": ["0030"]}
    assert column(root, "labels", digits=3) == {"10": ["008", "E850", "V300", "003", "401"], "20": ["003"]}
    assert column(root, "labels", digits=1)["10"] == ["0", "E8", "V3", "4"]
    assert "1 of 8 rows of DIAGNOSES_ICD dropped: no ICD9_CODE" in Mimic3(root).records().notices


@pytest.mark.parametrize(
    ("born", "admitted", "age"),
    [
        ("2040-03-01 00:00:00", "2101-03-01 00:05:00", "61"),
        ("2040-03-02 00:00:00", "2101-03-01 23:55:00", "60"),
        ("2040-02-29 00:00:00", "2041-02-28 10:00:00", "0"),
        ("2101-03-01 00:00:00", "2101-03-01 10:00:00", "0"),
        ("2011-03-02 00:00:00", "2101-03-01 10:00:00", "89"),
        ("2011-03-01 00:00:00", "2101-03-01 10:00:00", "90+"),
        ("1801-01-01 00:00:00", "2101-03-01 10:00:00", "90+"),
        ("2101-03-02 00:00:00", "2101-03-01 10:00:00", None),
        ("", "2101-03-01 10:00:00", None),
    ],
)
def test_age_is_in_completed_years_and_the_shift_is_undone(tmp_path: Path, born: str, admitted: str, age: str) -> None:
    root = write(tmp_path, stays=[stay(1, 10, admitted), stay(2, 20)], patients=[(1, 1, "F", born), PATIENTS[1]])
    assert attribute(root, "age")["10"] == age


def test_other_categories_and_spaces_around_them(tmp_path: Path) -> None:
    other = [(3, 1, 10, "2101-03-01", "", "", "Physician ", "Note", "", "", "seen"), *NOTES]
    root = write(tmp_path, other)
    assert column(root, "text") == {"10": "one", "20": "two"}
    assert column(root, "text", categories=["Physician"]) == {"10": "seen"}
    assert column(root, "text", categories=["Physician", SUMMARY])["10"] == "seen\n\none"
    with pytest.raises(ValueError, match=r"none of \['Discharge sumary'\]; it has Discharge summary, Physician"):
        Mimic3(root, categories=["Discharge sumary"]).records()


def test_the_order_of_the_tables_does_not_matter(tmp_path: Path) -> None:
    rng = random.Random(0)
    kinds = ["Report", "Addendum"]
    notes = [note(i, i % 20, i % 20 + 100, f"text {i}", rng.choice(kinds), f"2101-03-0{i % 9 + 1}") for i in range(60)]
    codes = [code(i % 20 + 100, i, f"{i % 13:04d}") for i in range(200)]
    stays, patients = [stay(i, i + 100) for i in range(20)], [(i, i, "F", "2040-01-01") for i in range(20)]
    before = Mimic3(write(tmp_path / "a", notes, codes, stays, patients)).records().frame
    for rows in (notes, codes, stays, patients):
        rng.shuffle(rows)
    after = Mimic3(write(tmp_path / "b", notes, codes, stays, patients)).records().frame
    assert after.equals(before)
    expected = {
        str(i + 100): "\n\n".join(
            str(row[-1])
            for row in sorted(notes, key=lambda row: (row[7] == "Addendum", row[3], row[0]))
            if row[2] == i + 100
        )
        for i in range(20)
    }
    assert dict(before.select("id", "text").iter_rows()) == expected


def test_numbers_saved_as_fractions_are_the_same_numbers(tmp_path: Path) -> None:
    kept = [*NOTES, note(3, 1, 10, "wrong", error="1")]
    fractions = [(f"{row[0]}.0", f"{row[1]}.0", f"{row[2]}.0", *row[3:9], f"{row[9] or 0}.0", row[10]) for row in kept]
    whole = Mimic3(write(tmp_path / "whole", kept)).records()
    read = Mimic3(write(tmp_path / "fractions", fractions)).records()
    assert read.frame.equals(whole.frame) and read.notices == whole.notices


@pytest.mark.parametrize(
    ("table", "cells", "codes", "notice"),
    [
        (
            "DIAGNOSES_ICD",
            ["V30.00", "E849.0", "401.9", "042", "V30."],
            ["V3000", "E8490", "4019", "042", "V30"],
            "4 of",
        ),
        ("DIAGNOSES_ICD", ["38.9", "42", "401"], ["0389", "042", "401"], "2 of 3"),
        ("PROCEDURES_ICD", ["38.93", "3.31", "6.6"], ["3893", "0331", "066"], "3 of 3"),
        ("DIAGNOSES_ICD", ["v3000", "e8490", "4019"], ["V3000", "E8490", "4019"], "2 of 3"),
        ("DIAGNOSES_ICD", [" 0389 ", "V4581", None], ["0389", "V4581", None], None),
        ("DIAGNOSES_ICD", ["0389", "389"], ["0389", "389"], "1 codes of DIAGNOSES_ICD also occur with a leading zero"),
        ("DIAGNOSES_ICD", [str(n) for n in range(100, 220)], [str(n) for n in range(100, 220)], "120 numeric codes"),
    ],
)
def test_codes_saved_by_other_tools_are_those_of_physionet(
    table: str, cells: list[str | None], codes: list[str | None], notice: str | None
) -> None:
    found, notices = normalize_icd9(pl.Series("code", cells), table)
    assert found.to_list() == codes
    assert any(notice in own for own in notices) if notice else notices == []


@pytest.mark.parametrize("cells", [["42", "4019"], ["4019.0", "25000.0"]])
def test_codes_that_lost_zeros_are_refused_unless_read_as_published(cells: list[str]) -> None:
    series = pl.Series("code", cells)
    with pytest.raises(DataError, match="ICD9_CODE must be text with its leading zeros"):
        normalize_icd9(series, "DIAGNOSES_ICD")
    assert normalize_icd9(series, "DIAGNOSES_ICD", lenient=True)[0].to_list() == cells


def test_missing_tables_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must have NOTEEVENTS\.csv or .* has no \.csv file"):
        Mimic3(tmp_path / "nowhere").records()
    write(tmp_path)
    (tmp_path / "PATIENTS.csv").unlink()
    with pytest.raises(FileNotFoundError, match="must have PATIENTS.csv"):
        Mimic3(tmp_path).records()
    (tmp_path / "PATIENTS.csv").write_text("SUBJECT_ID,SEX\n1,F\n")
    with pytest.raises(
        ValueError, match=r"must have the column 'GENDER', 'DOB', got PATIENTS\.csv with SUBJECT_ID, SEX"
    ):
        Mimic3(tmp_path).records()
    write(tmp_path, packed=True)
    with pytest.raises(ValueError, match=r"NOTEEVENTS\.csv and NOTEEVENTS\.csv\.gz; keep one"):
        Mimic3(tmp_path).records()


@pytest.mark.parametrize(
    ("changes", "law"),
    [
        ({"notes": [note(1, 1, "", "lost")]}, "has none: 1 of 1 notes dropped: no HADM_ID"),
        ({"notes": [note(1, 1, 10, "x", error="yes")]}, "ISERROR must be 1, 0 or empty"),
        ({"notes": [note(1, 1, 10, "x"), note(2, 2, 10, "y")]}, "an admission must have one SUBJECT_ID"),
        ({"notes": [note(1, "", 10, "x")]}, "an admission must have one SUBJECT_ID"),
        ({"notes": [("one", *note(1, 1, 10, "x")[1:])]}, "ROW_ID must be a whole number"),
        ({"notes": [note(1, 1, "10x", "x")]}, "HADM_ID is written alike"),
        ({"notes": [note(1, 2, 10, "x")]}, "agree on SUBJECT_ID, they differ in 1 admissions"),
        ({"codes": []}, "has none for the 2 admissions"),
        ({"codes": [code(10, "first", "4019")]}, "SEQ_NUM must be a whole number"),
        ({"stays": [stay(1, 10), stay(1, 10)]}, "ADMISSIONS must have one row per HADM_ID"),
        ({"patients": [PATIENTS[0], PATIENTS[0]]}, "PATIENTS must have one row per SUBJECT_ID"),
        ({"patients": [(1, 1, "F", "01/06/2040")]}, "DOB must be YYYY-MM-DD"),
    ],
)
def test_bad_tables_are_errors(tmp_path: Path, changes: dict[str, Sequence[Row]], law: str) -> None:
    root = write(tmp_path, **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=law):
        Mimic3(root).records()


def test_a_broken_note_is_an_error_without_its_text(tmp_path: Path) -> None:
    path = write(tmp_path) / "NOTEEVENTS.csv"
    path.write_bytes(path.read_bytes() + b'3,1,10,2101-03-04,,,"Discharge summary","Report",,,a secret\nin lines\n')
    with pytest.raises(ValueError, match=r"NOTEEVENTS\.csv line 5") as caught:
        Mimic3(tmp_path).records()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"codes": "drugs"}, {"digits": 0}, {"categories": SUMMARY}, {"categories": []}])
def test_bad_settings_are_errors(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must|set "):
        Mimic3(tmp_path, **settings)  # type: ignore[arg-type]


def test_the_fingerprint_follows_every_table(tmp_path: Path) -> None:
    corpus = Mimic3(write(tmp_path))
    seen = {corpus.fingerprint()}
    assert corpus.fingerprint() in seen
    for table in HEADERS:
        with (tmp_path / f"{table}.csv").open("a") as file:
            file.write("\n")
        seen.add(corpus.fingerprint())
    assert len(seen) == 5


def test_scan_reads_any_table_lazily_under_capital_names(tmp_path: Path) -> None:
    write(tmp_path, lower=True)
    lazy = mimic3.scan_table(tmp_path, "ADMISSIONS", ["HADM_ID", "DISCHTIME"])
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().rows() == [("10", "2101-03-05 09:00:00"), ("20", "2101-03-05 09:00:00")]
