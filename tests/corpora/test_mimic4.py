"""Laws of MIMIC-IV's readers: equal to a second, slower way on generated files, and every oddity by hand."""

import csv
import gzip
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clinlm.cli.main import run_command
from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.mimic.admission_notes import admission_note, without_death
from clinlm.corpora.mimic.equivalence import read_equivalences
from clinlm.corpora.mimic.mimic3_outcomes import Outcome
from clinlm.corpora.mimic.mimic4_notes import Mimic4Notes
from clinlm.corpora.mimic.mimic4_outcomes import TABLES, Mimic4Outcomes
from clinlm.corpora.mimic.outcome_labels import STAYS
from clinlm.corpora.synthetic.mimic4_tables import COLUMNS4, EQUIVALENCES, SyntheticMimic4
from clinlm.text.normalization import deidentified

OUTCOMES: Sequence[Outcome] = ("mortality", "length_of_stay", "diagnoses_3digit", "procedures_3digit")
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticMimic4(tmp_path_factory.mktemp("fourth"), patients=150).tables()


def read(root: Path, table: str) -> Rows:
    with gzip.open(root / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def labels_by_hand(root: Path, outcome: Outcome, mapped: bool) -> dict[str, list[str]]:
    """HADM_ID -> labels, in pure Python."""
    stays = {row["hadm_id"]: row for row in read(root, "hosp/admissions")}
    if outcome == "mortality":
        names = {"0": "survived", "1": "died"}
        return {number: [names[row["hospital_expire_flag"]]] for number, row in stays.items()}
    found: dict[str, list[str]] = {}
    if outcome == "length_of_stay":
        for number, row in stays.items():
            if row["hospital_expire_flag"] == "0":
                time = datetime.fromisoformat(row["dischtime"]) - datetime.fromisoformat(row["admittime"])
                days = round(time.total_seconds() / 86400, 1)
                found[number] = [STAYS[sum(days > limit for limit in (3, 7, 14))]]
        return found
    targets, _ = read_equivalences(EQUIVALENCES)
    for row in read(root, f"hosp/{TABLES[outcome]}"):
        nine = row["icd_version"] == "9"
        for code in targets.get(row["icd_code"], ()) if mapped and nine else [row["icd_code"]]:
            long = nine and not mapped and code[:1] in ("V", "E") and outcome == "diagnoses_3digit"
            label = code[: 4 if long else 3] if mapped else f"icd{row['icd_version']}:{code[: 4 if long else 3]}"
            if code and label not in found.setdefault(row["hadm_id"], []):
                found[row["hadm_id"]].append(label)
    return {number: labels for number, labels in found.items() if labels}


def expected(root: Path, outcome: Outcome, mapped: bool) -> dict[str, tuple[str, list[str]]]:
    """HADM_ID -> text and labels."""
    labels, last = labels_by_hand(root, outcome, mapped), dict[str, dict[str, str]]()
    notes = [row for row in read(root, "note/discharge") if row["hadm_id"] and row["text"].strip()]
    for row in sorted(notes, key=lambda row: row["charttime"]):
        last.pop(row["text"], None)
        last[row["text"]] = row
    texts: dict[str, list[str]] = {}
    for row in last.values():
        if row["note_type"] == "DS":
            texts.setdefault(row["hadm_id"], []).append(row["text"])
    found = {}
    for number in sorted(texts.keys() & labels, key=int):
        note = admission_note("\n\n".join(texts[number]), "strict")
        note = without_death(note, "strict") if note is not None and outcome == "mortality" else note
        if note is not None:
            found[number] = (note, labels[number])
    return found


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_generated_files_come_out_as_by_a_slower_way(root: Path, outcome: Outcome, mapped: bool) -> None:
    chosen: dict[str, Any] = {"versions": "icd10", "gem": EQUIVALENCES} if mapped else {}
    corpus = Mimic4Outcomes(root, outcome, **chosen)
    corpus.check()
    frame = corpus.records().frame
    assert tuple(frame.columns) == COLUMNS and not corpus.remote_allowed
    rows = {id: (text, labels) for id, text, labels in frame.select("id", "text", "labels").iter_rows()}
    right = expected(root, outcome, mapped)
    assert rows == right and list(rows) == list(right) and len(right) > 50
    texts = frame.group_by("text").agg("group")
    assert all(len(set(groups)) == 1 for groups in texts["group"]), "patients of one text share a group"


def test_generated_files_have_mimic4s_shape(root: Path) -> None:
    for table, columns in COLUMNS4.items():
        rows = read(root, table)
        assert rows and all(list(row) == columns.split() and None not in row.values() for row in rows)
    people = {row["subject_id"]: row for row in read(root, "hosp/patients")}
    stays = read(root, "hosp/admissions")
    assert {row["subject_id"] for row in stays} == set(people)
    assert all(int(row["anchor_age"]) <= 89 or row["anchor_age"] == "91" for row in people.values())
    versions = {
        (people[row["subject_id"]]["anchor_year_group"], row["icd_version"]) for row in read(root, "hosp/diagnoses_icd")
    }
    assert {own for years, own in versions if years < "2014"} == {"9"}
    assert {own for years, own in versions if years > "2017"} == {"10"}
    notes = [row["text"] for table in ("discharge", "radiology") for row in read(root, f"note/{table}")]
    assert any("___" in text for text in notes) and not any("[**" in text for text in notes)
    assert any(not row["hadm_id"] for row in read(root, "note/radiology"))


def test_patient_i_depends_on_seed_and_i_alone(tmp_path: Path) -> None:
    few, many = (SyntheticMimic4(tmp_path, patients=count).tables() for count in (6, 9))
    for table in COLUMNS4:
        less = read(few, table)
        assert read(many, table)[: len(less)] == less
    assert SyntheticMimic4(tmp_path, 6).fingerprint() != SyntheticMimic4(tmp_path, 6, seed=1).fingerprint()


def test_attributes(root: Path) -> None:
    people = {row["subject_id"]: row for row in read(root, "hosp/patients")}
    frame = Mimic4Outcomes(root, "mortality").records().frame
    stays = {row["hadm_id"]: row for row in read(root, "hosp/admissions")}
    for id, attributes in frame.select("id", "attributes").iter_rows():
        person = people[stays[id]["subject_id"]]
        years = int(person["anchor_age"]) + int(stays[id]["admittime"][:4]) - int(person["anchor_year"])
        assert attributes["age"] == ("90+" if years >= 90 else str(years))
        assert attributes["race"] == stays[id]["race"] and attributes["gender"] == person["gender"]


def test_every_note_of_both_tables_is_a_record(root: Path) -> None:
    records = Mimic4Notes(root).records()
    rows = [row for table in ("discharge", "radiology") for row in read(root, f"note/{table}") if row["text"].strip()]
    assert records.frame["id"].to_list() == [row["note_id"] for row in rows]
    assert records.frame["text"].to_list() == [row["text"] for row in rows]
    assert set(records.frame["attributes"].struct.field("category")) == {"discharge", "radiology"}
    one = Mimic4Notes(root / "note", tables=["radiology"])
    assert 0 < one.records().frame.height < records.frame.height
    assert one.fingerprint() != Mimic4Notes(root).fingerprint()


def test_a_fraction_holds_whole_patients(root: Path) -> None:
    every = Mimic4Notes(root).records().frame
    small, large = (Mimic4Notes(root, fraction=fraction).records() for fraction in (0.1, 0.5))
    for share, drawn in ((0.1, small), (0.5, large)):
        assert drawn.frame.equals(every.filter(pl.col("group").is_in(drawn.frame["group"].implode())))
        assert abs(drawn.frame.height - share * every.height) < 20
        assert any(f"notes not read: fraction {share}" in notice for notice in drawn.notices)
    assert {*small.frame["id"]} < {*large.frame["id"]}
    for wrong in ({"fraction": 0}, {"tables": []}, {"tables": ["nursing"]}):
        with pytest.raises(ConfigError):
            Mimic4Notes(root, **wrong)  # type: ignore[arg-type]


def test_marks_are_removed() -> None:
    assert deidentified("seen by ___ on [**2101-1-1**] at ____.") == "seen by   on   at  ."


def write(root: Path, **tables: Sequence[Sequence[object]]) -> Path:
    """One stay of one patient, but for the rows given."""
    note = "Chief Complaint:\npain\n \nBrief Hospital Course:\nrest\n"
    own: dict[str, Sequence[Sequence[object]]] = {
        "patients": [(1, "F", 50, 2150, "2017 - 2019", "")],
        "admissions": [(1, 2, "2150-01-01 00:00:00", "2150-01-05 00:00:00", *[""] * 11, 0)],
        "diagnoses_icd": [(1, 2, 1, "I10", 10)],
        "procedures_icd": [(1, 2, 1, "2150-01-01", "02HV33Z", 10)],
        "discharge": [("1-DS-1", 1, 2, "DS", 1, "2150-01-05", "2150-01-05", note)],
        "radiology": [],
        **tables,
    }
    for name, columns in COLUMNS4.items():
        path = root / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns.split(), *own[path.name.removesuffix(".csv.gz")]])
    return root


def diagnoses(*rows: tuple[str, object]) -> Any:
    return [(1, 2, place, *row) for place, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([("I50.9", 10), ("i10", "10.0"), ("", 10)], ["icd10:I50", "icd10:I10"]),
        ([("4019", 9), ("401.1", 9), ("V4581", 9), ("E8889", 9)], ["icd9:401", "icd9:V458", "icd9:E888"]),
        ([("V45", 9), ("V4581XA", 10)], ["icd9:V45", "icd10:V45"]),
    ],
)
def test_codes(tmp_path: Path, rows: Any, labels: list[str]) -> None:
    root = write(tmp_path, diagnoses_icd=diagnoses(*rows))
    assert Mimic4Outcomes(root, "diagnoses_3digit").records().frame["labels"].to_list() == [labels]


@pytest.mark.parametrize(
    ("tables", "law"),
    [
        ({"diagnoses_icd": diagnoses(("I10", 11))}, "icd_version must be 9 or 10, diagnoses_icd has 1 rows"),
        ({"diagnoses_icd": diagnoses(("4019", 10))}, "codes of ICD-10 in diagnoses_icd must be a letter, a digit"),
        (
            {"diagnoses_icd": diagnoses(("42", 9))},
            "icd_code must be text with its leading zeros, diagnoses_icd has 1 codes",
        ),
        ({"diagnoses_icd": [(1, 2, 1, "I10", 10), (5, 2, 2, "I11", 10)]}, "an admission must have one subject_id"),
        ({"discharge": [("x", 1, 2, "ZZ", 1, "", "", "secret")]}, "note_type must be DS or AD, discharge has 1"),
        ({"discharge": [("x", 1, "secret", "DS", 1, "", "", "secret")]}, "HADM_ID must be a whole number"),
        ({"discharge": [("x", 1, 7, "DS", 1, "", "", "secret")]}, "their admission is not in admissions"),
        ({"discharge": [("x", 1, 2, "AD", 1, "", "", "secret")]}, "1 of 1 notes dropped: not written as a report"),
        ({"admissions": 2 * [(1, 2, *[""] * 14)]}, "one row per HADM_ID"),
        ({"patients": 2 * [(1, "F", 50, 2150, "", "")]}, "one row per SUBJECT_ID"),
    ],
)
def test_bad_files_are_errors_without_text(tmp_path: Path, tables: Any, law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        Mimic4Outcomes(write(tmp_path, **tables), "diagnoses_3digit").records()
    assert "secret" not in str(error.value)


def test_procedures_that_were_saved_as_numbers_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, procedures_icd=[(1, 2, 1, "2150-01-01", "270346", 10)])
    with pytest.raises(DataError, match="must be seven letters and digits"):
        Mimic4Outcomes(root, "procedures_3digit").records()


def test_a_file_must_be_there_once(tmp_path: Path) -> None:
    root = write(tmp_path / "mimiciv" / "3.1")
    assert Mimic4Outcomes(tmp_path, "mortality").records().frame.height == 1, "hosp may be two folders below"
    write(tmp_path / "mimiciv" / "2.2")
    with pytest.raises(DataError, match="a table must be one file"):
        Mimic4Outcomes(tmp_path, "mortality").check()
    (root / "note" / "discharge.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match="root must have discharge.csv.gz of MIMIC-IV"):
        Mimic4Outcomes(root, "mortality").check()


def test_a_mapping_gives_every_code_its_targets(tmp_path: Path) -> None:
    gem = tmp_path / "gem.txt"
    gem.write_text(
        "401 I10 10000\n\n5 A01 10000\n5 A02 10000\n6 NoDx 11000\n7 X1 10111\n7 X2 10111\n7 Y1 10112\n7 Z 10121\n"
    )
    targets, several = read_equivalences(gem)
    assert targets == {"401": ("I10",), "5": ("A01",), "6": (), "7": ("X1", "Y1")} and several == {"5", "7"}
    gem.write_text("401 I10 10000\nsecret words\n")
    with pytest.raises(DataError, match="gem.txt line 2") as error:
        read_equivalences(gem)
    assert "secret" not in str(error.value)


def test_a_mapping_of_the_wrong_direction_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="gem must map ICD-10 to ICD-9, icd9_to_icd10.txt has none"):
        Mimic4Outcomes(root, "diagnoses_3digit", versions="icd9", gem=EQUIVALENCES).records()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"outcome": "x"}, "outcome must be one of"),
        ({"versions": "x"}, "versions must be one of"),
        ({"versions": "icd10"}, "gem must name the file"),
        ({"gem": "x"}, "gem must name the file"),
        ({"root": None}, "got null"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Mimic4Outcomes(**{"root": "x", "outcome": "diagnoses_3digit", **settings})


def test_check_names_the_tasks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("check", [f"input={root}"])
    told = " ".join(capsys.readouterr().out.split())
    assert "MIMIC-IV: admissions, diagnoses_icd, discharge, patients, procedures_icd" in told
    assert "task=mortality corpus@task.corpus=mimic4_outcomes" in told.replace("\\ ", "")
