"""Generates patients, admissions, codes and summaries as tables of MIMIC-III, for the clinical outcome tasks."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, final

from clinlm.corpora.synthetic.outcome_course import Presentation, StayOutcome, SyntheticCourses
from clinlm.corpora.synthetic.outcome_notes import SyntheticOutcomeNotes
from clinlm.corpora.synthetic.tables import COLUMNS as _COLUMNS
from clinlm.corpora.synthetic.tables import Field, Row, SyntheticTables, write_tables

COLUMNS = _COLUMNS | {"PROCEDURES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE"}
"""Table -> its columns, in MIMIC-III's order."""

CANCELLED = (
    "Chief Complaint:\nplanned admission\n\nHistory of Present Illness:\nCancelled on arrival.\n\nService:\nNONE\n"
)
"""A summary that several patients share word for word."""

_NEWBORN = 0.05
_UNCODED = 0.01
_NO_CODE = 0.005
_TWICE_CODED = 0.015
_SILENT, _REPEATED, _REVISED, _ADDED, _ADDED_ALONE = 0.01, 0.015, 0.01, 0.06, 0.005
_MISFILED, _HOMELESS, _BLANK, _SHARED = 0.01, 0.005, 0.003, 0.008

Record = dict[str, Any]


@final
class SyntheticOutcomeTables:
    """Writes the tables of `SyntheticTables`, and PROCEDURES_ICD, with outcomes that follow from the admission.

    People, admissions and conditions come from `SyntheticTables`, presentations and outcomes from `SyntheticCourses`,
    summaries from `SyntheticOutcomeNotes`. A death removes the patient's later stays, and a stay that would overlap the
    next ends a day before it.

    As in the real tables there are a few newborns, admissions without summary or codes, rows without a code, codes on
    two rows, V and E codes, procedure codes with leading zeros; addenda with and without a report, repeated summaries,
    two reports of a stay, texts shared by patients, and summaries of another patient (ISERROR = 1), without text, or
    without admission.

    Args:
        patients: number of patients, > 0.
        seed: any integer. Patient i depends only on (seed, i).
    """

    def __init__(self, patients: int, seed: int) -> None:
        self.patients, self.seed = patients, seed
        self.people = SyntheticTables(patients, seed, "brief")
        self.courses, self.notes = SyntheticCourses(), SyntheticOutcomeNotes()
        self._conditions = {condition.code: condition for condition in self.courses.lexicon.conditions}

    def write(self, folder: Path) -> None:
        """Write the five tables as `TABLE.csv` into `folder`, which must exist."""
        write_tables(folder, COLUMNS, (row for number in range(self.patients) for row in self.rows(number)))

    def rows(self, number: int) -> Iterator[Row]:
        """Yield the rows of patient `number` (from 0) as (table, fields without ROW_ID)."""
        rng = random.Random(f"outcomes:{self.seed}:{number}")
        person, stays = self._person(number)
        if rng.random() < _NEWBORN:
            yield from self._newborn(rng, person, stays[0])
            return
        ends: list[datetime] = []
        rows: list[Row] = []
        died = False
        for place, stay in enumerate(stays):
            latest = stays[place + 1]["ADMITTIME"] - timedelta(days=1) if place + 1 < len(stays) else None
            shown, course = self._draw(rng, person, stay)
            died = course.died
            end = stay["ADMITTIME"] + timedelta(minutes=round(course.days * 1440))
            end = min(end, latest) if latest and not died else end
            ends.append(end)
            rows += [_admission(rng, stay, end, died), *_codes(rng, stay, course.diagnoses, course.procedures)]
            rows += self._summaries(rng, stay, shown, course, end)
            if died:
                break
        yield _patient(person, ends[-1] if died else None)
        yield from rows

    def _person(self, number: int) -> tuple[Record, list[Record]]:
        """Return the row of PATIENTS and those of ADMISSIONS by column; `CODES` are the conditions of a stay."""
        person: Record = {}
        stays: dict[int, Record] = {}
        for table, fields in self.people.rows(number):
            record: Record = dict(zip(COLUMNS[table].split()[1:], fields, strict=True))
            if table == "PATIENTS":
                person = record
            elif table == "ADMISSIONS":
                stays[record["HADM_ID"]] = record | {"CODES": []}
            elif table == "DIAGNOSES_ICD":
                stays[record["HADM_ID"]]["CODES"].append(record["ICD9_CODE"])
        return person, list(stays.values())

    def _draw(self, rng: random.Random, person: Record, stay: Record) -> tuple[Presentation, StayOutcome]:
        admitted, born = stay["ADMITTIME"].date(), person["DOB"].date()
        age = admitted.year - born.year - ((admitted.month, admitted.day) < (born.month, born.day))
        name = f"{age if age < 90 else '[**Age over 90 **]'} yo {person['GENDER']}"
        conditions = [self._conditions[code] for code in stay["CODES"]]
        complaint = stay["DIAGNOSIS"].lower()
        shown = self.courses.present(rng, name, min(age, 90), complaint, admitted, conditions)
        return shown, self.courses.follow(rng, shown)

    def _summaries(
        self, rng: random.Random, stay: Record, shown: Presentation, course: StayOutcome, end: datetime
    ) -> Iterator[Row]:
        """Yield the summary of a stay, and the usual flaws: addenda, repetitions, misfiled and empty notes."""
        if rng.random() < _SILENT:
            return
        last = end.date()
        text = self.notes.write(rng, shown, course, last).text
        text = CANCELLED if rng.random() < _SHARED else text
        alone = rng.random() < _ADDED_ALONE
        yield _note(stay, last, "Addendum" if alone else "Report", text)
        if rng.random() < _ADDED:
            yield _note(stay, last + timedelta(days=rng.randint(0, 3)), "Addendum", self.notes.addendum(rng, last))
        if rng.random() < _REPEATED:
            yield _note(stay, last + timedelta(days=1), "Report", text)
        if rng.random() < _REVISED:
            yield _note(stay, last + timedelta(days=2), "Report", self.notes.write(rng, shown, course, last).text)
        if rng.random() < _MISFILED:
            other = self.courses.present(rng, shown.person, shown.age, shown.complaint, shown.admitted, shown.early[:1])
            wrong = self.notes.write(rng, other, self.courses.follow(rng, other), last).text
            yield _note(stay, last, "Report", wrong, ISERROR=1)
        if rng.random() < _HOMELESS:
            yield _note(stay, last, "Report", self.notes.addendum(rng, last), HADM_ID=None)
        if rng.random() < _BLANK:
            yield _note(stay, last, "Report", None)

    def _newborn(self, rng: random.Random, person: Record, stay: Record) -> Iterator[Row]:
        born = datetime.combine(stay["ADMITTIME"].date(), datetime.min.time())
        yield _patient(person | {"DOB": born, "DOD_SSN": None}, None)
        end = stay["ADMITTIME"] + timedelta(minutes=rng.randint(1440, 20 * 1440))
        own = {"ADMISSION_TYPE": "NEWBORN", "LANGUAGE": None, "MARITAL_STATUS": None, "DIAGNOSIS": "NEWBORN"}
        yield _admission(rng, stay | own | {"EDREGTIME": None, "EDOUTTIME": None}, end, False)
        procedures = ("9955", "640") if person["GENDER"] == "M" and rng.random() < 0.6 else ("9955",)
        diagnoses = ("V3000", "V053", *(("7742",) if rng.random() < 0.3 else ()))
        yield from _codes(rng, stay, diagnoses, procedures)
        if rng.random() < 0.6:
            yield _note(stay, end.date(), "Report", self.notes.newborn(rng, born.date()))


def _fields(table: str, record: Mapping[str, Field]) -> Row:
    return table, tuple(record[column] for column in COLUMNS[table].split()[1:])


def _patient(person: Record, died: datetime | None) -> Row:
    """Return the row of PATIENTS: DOD_HOSP is a death in hospital, DOD_SSN a later one."""
    hospital = datetime.combine(died.date(), datetime.min.time()) if died else None
    register = None if died else person["DOD_SSN"]
    dead = hospital or register
    own = {"DOD": dead, "DOD_HOSP": hospital, "DOD_SSN": register, "EXPIRE_FLAG": int(dead is not None)}
    return _fields("PATIENTS", person | own)


def _admission(rng: random.Random, stay: Record, end: datetime, died: bool) -> Row:
    place = "DEAD/EXPIRED" if died else stay["DISCHARGE_LOCATION"]
    if not died and place == "DEAD/EXPIRED":
        place = rng.choice(("HOME", "SNF"))
    own = {"DISCHTIME": end, "DEATHTIME": end if died else None, "DISCHARGE_LOCATION": place}
    return _fields("ADMISSIONS", stay | own | {"HOSPITAL_EXPIRE_FLAG": int(died)})


def _codes(rng: random.Random, stay: Record, diagnoses: Sequence[str], procedures: Sequence[str]) -> Iterator[Row]:
    for table, codes in (("DIAGNOSES_ICD", diagnoses), ("PROCEDURES_ICD", procedures)):
        listed: list[str | None] = [] if rng.random() < _UNCODED else list(codes)
        if listed and rng.random() < _TWICE_CODED:
            listed.append(rng.choice(codes))
        if listed and table == "DIAGNOSES_ICD" and rng.random() < _NO_CODE:
            listed.append(None)
        for place, code in enumerate(listed, start=1):
            yield table, (stay["SUBJECT_ID"], stay["HADM_ID"], place, code)


def _note(stay: Record, day: Any, description: str, text: str | None, **other: Field) -> Row:
    """Return the row of a discharge summary, without time and caregiver."""
    empty = dict.fromkeys(("CHARTTIME", "STORETIME", "CGID", "ISERROR"))
    own = {"CHARTDATE": day, "CATEGORY": "Discharge summary", "DESCRIPTION": description, "TEXT": text}
    ids = {name: stay[name] for name in ("SUBJECT_ID", "HADM_ID")}
    return _fields("NOTEEVENTS", {**empty, **ids, **own, **other})
