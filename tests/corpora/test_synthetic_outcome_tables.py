"""Laws of the tables for the outcome tasks: MIMIC-III's shape, its oddities in small shares, and something to learn."""

import csv
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from clinlm.corpora.mimic.mimic3 import Mimic3
from clinlm.corpora.mimic.mimic3_outcomes import Mimic3Outcomes, Outcome
from clinlm.corpora.synthetic.outcome_tables import CANCELLED, COLUMNS, SyntheticOutcomeTables
from clinlm.corpora.synthetic.synthetic import Synthetic

Tables = dict[str, list[dict[str, str]]]


def written(folder: Path, patients: int, seed: int = 0) -> Path:
    folder.mkdir()
    SyntheticOutcomeTables(patients, seed).write(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return Synthetic(tmp_path_factory.mktemp("outcomes"), patients=800, style="admission")


@pytest.fixture(scope="module")
def tables(corpus: Synthetic) -> Tables:
    folder = corpus.tables()
    read: Tables = {}
    for table in COLUMNS:
        with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            read[table] = list(csv.DictReader(file, strict=True))
    return read


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def grown(tables: Tables) -> list[dict[str, str]]:
    return [row for row in tables["ADMISSIONS"] if row["ADMISSION_TYPE"] != "NEWBORN"]


def test_headers_are_mimic3s_and_every_row_is_whole(tables: Tables) -> None:
    assert COLUMNS["PROCEDURES_ICD"].split() == ["ROW_ID", "SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE"]
    for table, columns in COLUMNS.items():
        for number, row in enumerate(tables[table], start=1):
            assert list(row) == columns.split() and None not in row.values() and row["ROW_ID"] == str(number)


def test_patient_i_depends_on_seed_and_i_alone(tmp_path: Path) -> None:
    few, many = written(tmp_path / "few", 30), written(tmp_path / "many", 50)
    other = written(tmp_path / "other", 30, seed=1)
    for table in COLUMNS:
        less, more = ((folder / f"{table}.csv").read_bytes() for folder in (few, many))
        assert more.startswith(less) and len(more) > len(less)
        assert (other / f"{table}.csv").read_bytes() != less


def test_keys_join_and_stays_do_not_overlap(tables: Tables) -> None:
    owner = {row["HADM_ID"]: row["SUBJECT_ID"] for row in tables["ADMISSIONS"]}
    assert len(owner) == len(tables["ADMISSIONS"])
    assert set(owner.values()) == {row["SUBJECT_ID"] for row in tables["PATIENTS"]}
    for table in ("DIAGNOSES_ICD", "PROCEDURES_ICD", "NOTEEVENTS"):
        assert all(owner[row["HADM_ID"]] == row["SUBJECT_ID"] for row in tables[table] if row["HADM_ID"])
    stays = defaultdict(list)
    for row in tables["ADMISSIONS"]:
        stays[row["SUBJECT_ID"]] += [time(row["ADMITTIME"]), time(row["DISCHTIME"])]
    assert all(times == sorted(times) for times in stays.values())


def test_deaths_are_consistent_and_about_a_tenth(tables: Tables) -> None:
    people = {row["SUBJECT_ID"]: row for row in tables["PATIENTS"]}
    last = {row["SUBJECT_ID"]: row["HADM_ID"] for row in tables["ADMISSIONS"]}
    hospital = set()
    for row in tables["ADMISSIONS"]:
        died, person = row["HOSPITAL_EXPIRE_FLAG"] == "1", people[row["SUBJECT_ID"]]
        assert row["DEATHTIME"] == (row["DISCHTIME"] if died else "")
        assert died == (row["DISCHARGE_LOCATION"] == "DEAD/EXPIRED")
        if died:
            hospital.add(row["SUBJECT_ID"])
            assert last[row["SUBJECT_ID"]] == row["HADM_ID"] and person["DOD_HOSP"][:10] == row["DEATHTIME"][:10]
    for subject, person in people.items():
        assert bool(person["DOD_HOSP"]) == (subject in hospital)
        assert person["DOD"] == (person["DOD_HOSP"] or person["DOD_SSN"])
        assert person["EXPIRE_FLAG"] == str(int(bool(person["DOD"])))
    assert 0.07 < len(hospital) / len(grown(tables)) < 0.14


def test_all_lengths_of_stay_occur_about_as_in_mimic3(tables: Tables) -> None:
    days = [
        (time(row["DISCHTIME"]) - time(row["ADMITTIME"])).total_seconds() / 86400
        for row in grown(tables)
        if row["HOSPITAL_EXPIRE_FLAG"] == "0"
    ]
    classes = np.digitize(days, (3, 7, 14), right=True)
    assert np.bincount(classes) / len(days) == pytest.approx([0.13, 0.37, 0.31, 0.19], abs=0.06)


def test_codes_are_text_with_leading_zeros_and_v_and_e_codes(tables: Tables) -> None:
    procedures = Counter(row["ICD9_CODE"] for row in tables["PROCEDURES_ICD"])
    diagnoses = Counter(row["ICD9_CODE"] for row in tables["DIAGNOSES_ICD"])
    assert {"0066", "0331", "0017"} <= set(procedures) and "00845" in diagnoses
    for first in "VE":
        assert 0.005 < sum(n for code, n in diagnoses.items() if code.startswith(first)) / diagnoses.total() < 0.25
    assert len(procedures) > 35 and 1 < procedures.total() / len(grown(tables)) < 5
    for table in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
        places = defaultdict(list)
        for row in tables[table]:
            places[row["HADM_ID"]].append(int(row["SEQ_NUM"]))
        assert all(own == list(range(1, len(own) + 1)) for own in places.values())


def test_the_oddities_of_the_real_tables_are_there_and_few(tables: Tables) -> None:
    stays, notes = grown(tables), tables["NOTEEVENTS"]
    reports = Counter(row["HADM_ID"] for row in notes if row["DESCRIPTION"] == "Report" and row["TEXT"])
    texts = Counter(row["TEXT"] for row in notes)
    coded = {row["HADM_ID"] for row in tables["DIAGNOSES_ICD"]}
    twice = Counter((row["HADM_ID"], row["ICD9_CODE"]) for row in tables["DIAGNOSES_ICD"])
    shares = {
        "newborns": len(tables["ADMISSIONS"]) - len(stays),
        "without codes": sum(row["HADM_ID"] not in coded for row in stays),
        "codes missing": sum(row["ICD9_CODE"] == "" for row in tables["DIAGNOSES_ICD"]),
        "codes twice": sum(count > 1 for count in twice.values()),
        "without report": sum(not reports[row["HADM_ID"]] for row in stays),
        "two reports": sum(count > 1 for count in reports.values()),
        "addenda": sum(row["DESCRIPTION"] == "Addendum" for row in notes),
        "shared": texts[CANCELLED],
        "repeated": sum(count > 1 for count in texts.values()),
        "misfiled": sum(row["ISERROR"] == "1" for row in notes),
        "without admission": sum(row["HADM_ID"] == "" for row in notes),
        "without text": texts[""],
    }
    assert all(0 < count < 0.1 * len(stays) for count in shares.values()), shares
    assert {row["CATEGORY"] for row in notes} == {"Discharge summary"}


def test_the_diagnoses_of_full_summaries_can_be_read_too(corpus: Synthetic) -> None:
    assert Mimic3(corpus.tables()).records().frame.height == corpus.records().frame.height > 1000


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_there_is_something_to_learn_and_words_alone_do_not_tell_it_all(corpus: Synthetic, outcome: Outcome) -> None:
    frame = Mimic3Outcomes(None, outcome, generated=corpus).records().frame
    test = frame["group"].cast(int).to_numpy() % 3 == 0
    rows = TfidfVectorizer(sublinear_tf=True, min_df=5).fit_transform(frame["text"].to_list())
    common = Counter(label for own in frame["labels"] for label in own).most_common(4)
    areas = []
    for label, _ in common:
        truth = np.array([label in own for own in frame["labels"]])
        model = LogisticRegression(C=2, solver="liblinear").fit(rows[~test], truth[~test])
        areas.append(roc_auc_score(truth[test], model.decision_function(rows[test])))
    assert 0.57 < np.mean(areas) < 0.95


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_every_outcome_can_be_read_strictly_and_its_oddities_are_counted(corpus: Synthetic, outcome: Outcome) -> None:
    published, strict = (
        Mimic3Outcomes(None, outcome, how, generated=corpus).records() for how in ("published", "strict")
    )
    assert 0.95 * published.frame.height < strict.frame.height <= published.frame.height
    told = " ".join(strict.notices)
    assert all(what in told for what in ("newborns", "ISERROR", "no HADM_ID", "empty text", "not written as a report"))
    alike = set(published.frame["text"]) & set(strict.frame["text"])
    assert 0.9 * strict.frame.height < len(alike) < strict.frame["text"].n_unique()
