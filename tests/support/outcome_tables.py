"""Random tables of MIMIC-III with every oddity that the outcome tasks have a rule for."""

import csv
import random
from collections.abc import Sequence
from pathlib import Path

HEADERS = {
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CATEGORY DESCRIPTION ISERROR TEXT",
    "ADMISSIONS": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME ADMISSION_TYPE ETHNICITY HOSPITAL_EXPIRE_FLAG",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "PROCEDURES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB",
}
NAMES = (
    *("Chief Complaint", "CHIEF COMPLAINT", "History of Present Illness", "present illness", "Past Medical History"),
    *("MEDICATIONS ON ADMISSION", "Medications on Admission", "Allergies", "ALLERGIES", "Physical Exam"),
    *("ADMISSION PHYSICAL EXAM", "physical exam", "Family History", "Social History", "FAMILY MEDICAL HISTORY"),
    *("Service", "Brief Hospital Course", "Discharge Diagnosis", "Labs (on 2.1)", "Discharge Medications [2]", "ſex"),
)
PIECES = (
    *("chest pain", "COPD, HTN.", "Patient expired on the ward", "pt  has died", "he EXPIRED at noon", "she expired"),
    *(
        "pt had  passed away",
        "pronounced expired",
        "time of death 10:30",
        "[]",
        "[**2101-1-1**]",
        "None",
        "father died",
    ),
    *(
        "patient was deceased",
        "a\\nb",
        "a\\n\\nSummary: c",
        "\\N\\NSummary: d",
        "1. aspirin 2. iron",
        "HEENT: clear",
        "é ×",
    ),
    *("the expired drug", "No known allergies: none", "sat 98% (room air)", "|", ":", "\t", "  ", "deceased", "alive"),
    *(
        "PHYSICAL EXAM: patient deceased, pt died",
        "medication on admission: expired pt expired",
        "\r\n",
        "\x1c",
        '"so"',
    ),
)
QUIET = (
    "chest pain",
    "COPD, HTN.",
    "[**2101-1-1**]",
    "1. aspirin 2. iron",
    "HEENT: clear",
    "é ×",
    "alive",
    "father died",
)
BREAKS = ("\n", "\n\n", "\n\n", "\n\n", "\n \n", "\n\n\n", " ", "\r\n\r\n", "")
AFTER = (" ", "\n", "", "\n\n", "  \n")
MISSING = ("", "NA", "nan", "NULL", "None", "n/a")
DATES = ("2101-01-01", "2101-01-02", "2101-01-02", "2101-01-10", "2100-12-31", "", "NA")
CODES = (
    "0389",
    "389",
    "038",
    "4019",
    "25000",
    "V4581",
    "V45",
    "E8889",
    "E888",
    "v10",
    "66",
    "0066",
    "4",
    "40190",
    "00",
)
NUMBERS = tuple(code for code in CODES if code.isdigit())

Row = Sequence[object]


def summary(rng: random.Random) -> str:
    """One note: sections in any order, missing, empty, repeated, in the middle of a line."""
    parts = [f"Chief Complaint:\n{rng.choice(QUIET)}\n\nService: MED\n\n" if rng.random() < 0.5 else ""]
    pieces = QUIET if rng.random() < 0.5 else PIECES
    for _ in range(rng.randint(1, 9)):
        words = " ".join(rng.choices(pieces, k=rng.choice((0, 1, 1, 2, 3))))
        header = f"{rng.choice(NAMES)}:{rng.choice(AFTER)}" if rng.random() < 0.85 else ""
        parts.append(header + words + rng.choice(BREAKS))
    return "".join(parts)


def tables(seed: int) -> dict[str, list[Row]]:
    """Rows of all tables; the same seed gives the same."""
    rng = random.Random(seed)
    people = {100 + number: rng.choice((1, 2, 3, 4, 5)) for number in range(rng.randint(6, 14))}
    stays = list(people)
    flags = ("0", "0", "0", "1", "1", "") if rng.random() < 0.5 else ("0", "0", "1")
    admissions: list[Row] = []
    for stay in rng.sample(stays, k=max(2, len(stays) - 1)):
        kind = rng.choice(("EMERGENCY", "EMERGENCY", "ELECTIVE", "URGENT", "NEWBORN", "newborn", ""))
        end = rng.choice((0, 259_200, 262_800, 264_600, 604_800, 609_119, 609_120, 609_121, 1_209_600, 1_214_000, 9e6))
        admissions.append(
            (stay, people[stay], stay, "2101-01-01 00:00:00", moment(end), kind, "WHITE", rng.choice(flags))
        )
    notes = _notes(rng, stays, people)
    codes = {
        table: _codes(rng, stays, people, numeric)
        for table, numeric in (("DIAGNOSES_ICD", 0.3), ("PROCEDURES_ICD", 0.7))
    }
    patients = [(number, number, "F", "2050-02-03 00:00:00") for number in range(1, 5)]
    return {"NOTEEVENTS": notes, "ADMISSIONS": admissions, **codes, "PATIENTS": list(patients)}


def _notes(rng: random.Random, stays: Sequence[int], people: dict[int, int]) -> list[Row]:
    fractions = rng.random() < 0.3
    texts = [summary(rng) for _ in range(14)]
    notes: list[Row] = []
    for row in range(rng.randint(10, 40)):
        stay = rng.choice(stays)
        notes.append(
            (
                row,
                "" if rng.random() < 0.04 else people[stay],
                rng.choice(MISSING) if rng.random() < 0.05 else f"{stay}.0" if fractions else stay,
                rng.choice(DATES),
                rng.choice(("Discharge summary",) * 12 + ("Discharge summary ", "Nursing", "discharge summary")),
                rng.choice(("Report", "Report", "Report", "Report", "Addendum", "report", "")),
                rng.choice(("", "", "", "1")),
                rng.choice(MISSING)
                if rng.random() < 0.05
                else rng.choice(texts)
                if rng.random() < 0.3
                else summary(rng),
            )
        )
    return notes


def _codes(rng: random.Random, stays: Sequence[int], people: dict[int, int], numeric: float) -> list[Row]:
    values = NUMBERS if rng.random() < numeric else CODES
    lost = rng.choice((0.0, 0.1))
    rows: list[Row] = []
    for row in range(rng.randint(8, 30)):
        stay = rng.choice(stays[:-1])
        code = rng.choice(MISSING) if rng.random() < lost else rng.choice(values)
        known = "" if rng.random() < 0.03 else stay
        rows.append((row, "" if rng.random() < 0.02 else people[stay], known, rng.choice(("", 1, 2, 3)), code))
    return rows


def moment(seconds: float) -> str:
    """A time so long after the first of January 2101."""
    from datetime import datetime, timedelta

    return str(datetime(2101, 1, 1) + timedelta(seconds=seconds))


def write(root: Path, rows: dict[str, list[Row]], quoting: int = csv.QUOTE_MINIMAL) -> Path:
    """Write the tables as .csv into `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for table, own in rows.items():
        with (root / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n", quoting=quoting).writerows([HEADERS[table].split(), *own])  # type: ignore[arg-type]
    return root
