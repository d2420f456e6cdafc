"""Laws of the tables: MIMIC-III's shape, plausible lives, constant memory."""

import csv
import tracemalloc
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from clinlm.corpora.synthetic.tables import MOST_STAYS, SyntheticTables

HEADERS = {
    "PATIENTS": "ROW_ID,SUBJECT_ID,GENDER,DOB,DOD,DOD_HOSP,DOD_SSN,EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID,SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE,ADMISSION_LOCATION,"
    "DISCHARGE_LOCATION,INSURANCE,LANGUAGE,RELIGION,MARITAL_STATUS,ETHNICITY,EDREGTIME,EDOUTTIME,DIAGNOSIS,"
    "HOSPITAL_EXPIRE_FLAG,HAS_CHARTEVENTS_DATA",
    "DIAGNOSES_ICD": "ROW_ID,SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE",
    "NOTEEVENTS": "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,STORETIME,CATEGORY,DESCRIPTION,CGID,ISERROR,TEXT",
}
Tables = dict[str, list[dict[str, str]]]


def written(folder: Path, patients: int, seed: int = 0) -> Path:
    folder.mkdir()
    SyntheticTables(patients, seed, "brief").write(folder)
    return folder


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = written(tmp_path_factory.mktemp("tables") / "all", 600)
    read: Tables = {}
    for table in HEADERS:
        with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            read[table] = list(csv.DictReader(file, strict=True))
    return read


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_headers_are_mimic3s_and_every_row_is_whole(tables: Tables) -> None:
    for table, header in HEADERS.items():
        for number, row in enumerate(tables[table], start=1):
            assert list(row) == header.split(",") and None not in row.values()
            assert row["ROW_ID"] == str(number)


def test_tables_of_fewer_patients_are_a_prefix(tmp_path: Path) -> None:
    few, many = written(tmp_path / "few", 30), written(tmp_path / "many", 50)
    for table in HEADERS:
        less, more = ((folder / f"{table}.csv").read_bytes() for folder in (few, many))
        assert more.startswith(less) and len(more) > len(less)


def test_another_seed_gives_other_tables(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", 20), written(tmp_path / "two", 20, seed=1)
    for table in HEADERS:
        assert (one / f"{table}.csv").read_bytes() != (two / f"{table}.csv").read_bytes()


def test_keys_join(tables: Tables) -> None:
    owner = {row["HADM_ID"]: row["SUBJECT_ID"] for row in tables["ADMISSIONS"]}
    assert len(owner) == len(tables["ADMISSIONS"])
    assert set(owner.values()) == {row["SUBJECT_ID"] for row in tables["PATIENTS"]}
    for table in ("DIAGNOSES_ICD", "NOTEEVENTS"):
        assert all(owner[row["HADM_ID"]] == row["SUBJECT_ID"] for row in tables[table])
        assert {row["HADM_ID"] for row in tables[table]} == set(owner)


def test_patients_have_one_to_nine_stays_in_order(tables: Tables) -> None:
    stays = defaultdict(list)
    for row in tables["ADMISSIONS"]:
        stays[row["SUBJECT_ID"]].append((time(row["ADMITTIME"]), time(row["DISCHTIME"])))
    assert 1.3 < len(tables["ADMISSIONS"]) / len(stays) < 1.7
    assert 1 == min(map(len, stays.values())) < 4 <= max(map(len, stays.values())) <= MOST_STAYS
    for times in stays.values():
        flat = [moment for stay in times for moment in stay]
        assert flat == sorted(flat)


def test_deaths_are_consistent(tables: Tables) -> None:
    people = {row["SUBJECT_ID"]: row for row in tables["PATIENTS"]}
    last = {row["SUBJECT_ID"]: row["HADM_ID"] for row in tables["ADMISSIONS"]}
    for row in tables["ADMISSIONS"]:
        died, person = row["HOSPITAL_EXPIRE_FLAG"] == "1", people[row["SUBJECT_ID"]]
        assert row["DEATHTIME"] == (row["DISCHTIME"] if died else "")
        assert died == (row["DISCHARGE_LOCATION"] == "DEAD/EXPIRED")
        if died:
            assert last[row["SUBJECT_ID"]] == row["HADM_ID"] and person["DOD_HOSP"][:10] == row["DEATHTIME"][:10]
    for person in people.values():
        assert person["DOD"] == (person["DOD_HOSP"] or person["DOD_SSN"])
        assert person["EXPIRE_FLAG"] == str(int(bool(person["DOD"])))
    deaths = sum(row["HOSPITAL_EXPIRE_FLAG"] == "1" for row in tables["ADMISSIONS"])
    assert 0.02 < deaths / len(tables["ADMISSIONS"]) < 0.15


def test_who_is_older_than_89_is_born_300_years_before_the_first_admission(tables: Tables) -> None:
    ages: dict[str, list[int]] = defaultdict(list)
    born = {row["SUBJECT_ID"]: time(row["DOB"]).date() for row in tables["PATIENTS"]}
    for row in tables["ADMISSIONS"]:
        day, birth = time(row["ADMITTIME"]).date(), born[row["SUBJECT_ID"]]
        ages[row["SUBJECT_ID"]].append(day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day)))
    shifted = {subject for subject, seen in ages.items() if seen[0] == 300}
    assert shifted and all(18 <= age <= 89 for subject in ages.keys() - shifted for age in ages[subject])
    texts = defaultdict(list)
    for row in tables["NOTEEVENTS"]:
        texts[row["SUBJECT_ID"]].append(row["TEXT"])
    assert {subject for subject, seen in texts.items() if any("[**Age over 90 **]" in text for text in seen)} == shifted


def test_notes_of_all_kinds(tables: Tables) -> None:
    kinds = Counter((row["CATEGORY"], row["DESCRIPTION"], row["ISERROR"]) for row in tables["NOTEEVENTS"])
    assert kinds["Discharge summary", "Report", ""] == len(tables["ADMISSIONS"])
    assert kinds["Discharge summary", "Addendum", ""] and kinds["Discharge summary", "Report", "1"]
    assert {category for category, _, _ in kinds} == {"Discharge summary", "Nursing", "Radiology"}
    texts = [row["TEXT"] for row in tables["NOTEEVENTS"]]
    assert all("\n" in text for text in texts)
    assert sum("[**" in text for text in texts) > 20 and sum('"' in text for text in texts) > 20


def test_diagnoses_are_numbered_from_one(tables: Tables) -> None:
    stays = defaultdict(list)
    for row in tables["DIAGNOSES_ICD"]:
        stays[row["HADM_ID"]].append((int(row["SEQ_NUM"]), row["ICD9_CODE"]))
    for rows in stays.values():
        assert [place for place, _ in rows] == list(range(1, len(rows) + 1))
        assert len({code for _, code in rows}) == len(rows)


def test_notes_are_dated_within_the_stay(tables: Tables) -> None:
    stays = {row["HADM_ID"]: row for row in tables["ADMISSIONS"]}
    for row in tables["NOTEEVENTS"]:
        stay, day = stays[row["HADM_ID"]], time(row["CHARTDATE"])
        assert time(stay["ADMITTIME"][:10]) <= day <= time(stay["DISCHTIME"]) + timedelta(days=1)


def test_memory_does_not_grow_with_patients(tmp_path: Path) -> None:
    def peak(patients: int) -> int:
        tracemalloc.start()
        written(tmp_path / str(patients), patients)
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    peak(20)
    few, many = peak(40), peak(240)
    # The floor is what the write buffers of four files hold at one moment or another; the notes of 240 are 0.2 MB.
    assert many < 1.3 * max(few, 128 * 1024)
