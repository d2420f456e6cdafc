"""Generates patients, admissions and their notes as tables of MIMIC-III."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO, final

from filelock import FileLock

from clinlm.corpora.synthetic.notes import HospitalStay, Style, SyntheticNote, SyntheticNotes

COLUMNS = {
    "PATIENTS": "ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "ADMISSIONS": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE ADMISSION_LOCATION "
    "DISCHARGE_LOCATION INSURANCE LANGUAGE RELIGION MARITAL_STATUS ETHNICITY EDREGTIME EDOUTTIME DIAGNOSIS "
    "HOSPITAL_EXPIRE_FLAG HAS_CHARTEVENTS_DATA",
    "DIAGNOSES_ICD": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
    "NOTEEVENTS": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT",
}
"""Table -> its columns, in MIMIC-III's order."""

MOST_STAYS = 9

Field = str | int | date | None
Row = tuple[str, tuple[Field, ...]]

_ANOTHER_STAY = 1 / 3
_OLDEST = 89
_SHIFT = 300
_LATER_DEATH = 0.2
_KINDS = (("EMERGENCY", "ELECTIVE", "URGENT"), (80, 15, 5))
_ORIGINS = (("EMERGENCY ROOM ADMIT", "PHYS REFERRAL/NORMAL DELI", "TRANSFER FROM HOSP/EXTRAM"), (60, 25, 15))
_HOMES = (("HOME", "HOME HEALTH CARE", "SNF", "REHAB/DISTINCT PART HOSP"), (40, 30, 20, 10))
_INSURANCES = (("Medicare", "Private", "Medicaid", "Government", "Self Pay"), (48, 38, 10, 3, 1))
_LANGUAGES = (("ENGL", None, "SPAN", "RUSS", "PTUN"), (50, 43, 3, 2, 2))
_RELIGIONS = (("CATHOLIC", "NOT SPECIFIED", "PROTESTANT QUAKER", "JEWISH", None), (35, 40, 12, 9, 4))
_MARRIAGES = (("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", None), (41, 23, 13, 6, 17))
_ETHNICITIES = (
    ("WHITE", "BLACK/AFRICAN AMERICAN", "UNKNOWN/NOT SPECIFIED", "HISPANIC OR LATINO", "ASIAN"),
    (70, 10, 10, 6, 4),
)


def by_table(rows: Iterable[Row], columns: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return rows of a generator as cells by column, of every table that has any.

    Args:
        rows: (table, fields without ROW_ID).
        columns: table -> its columns, ROW_ID first.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for table, fields in rows:
        found.setdefault(table, []).append(dict(zip(columns[table].split()[1:], fields, strict=True)))
    return found


@dataclass(frozen=True)
class _Person:
    """A patient; `age` is the true age at the first admission, `first`, even if `born` is shifted."""

    subject: int
    gender: str
    age: int
    first: datetime
    born: date
    facts: tuple[str | None, ...]
    clusters: tuple[str, ...]


@dataclass(frozen=True)
class _Admission:
    """A stay, with its HADM_ID and its note."""

    number: int
    admitted: datetime
    discharged: datetime
    stay: HospitalStay
    note: SyntheticNote


@final
class SyntheticTables:
    """Writes PATIENTS, ADMISSIONS, DIAGNOSES_ICD and NOTEEVENTS, row by row, in constant memory.

    Patient i depends only on (seed, i), so the tables of fewer patients are a prefix of those of more.

    A stay has a discharge summary, its true diagnoses, often a nursing and a radiology note, sometimes an addendum, and
    rarely a summary of another patient, marked ISERROR = 1. A patient has one to nine stays (1.4 on average), ended by
    death. Of patients older than 89 at any admission the birth is moved to 300 years before the first one. Dates are in
    2100-2200, as in MIMIC-III.

    Args:
        patients: number of patients, > 0.
        seed: any integer.
        style: length of the discharge summaries (`SyntheticNotes`).
    """

    def __init__(self, patients: int, seed: int, style: Style) -> None:
        self.patients = patients
        self.seed = seed
        self.notes = SyntheticNotes(style)
        self._clusters = list(dict.fromkeys(condition.cluster for condition in self.notes.lexicon.conditions))

    def write(self, folder: Path) -> None:
        """Write the four tables as `TABLE.csv` into `folder`, which must exist."""
        write_tables(folder, COLUMNS, (row for number in range(self.patients) for row in self.rows(number)))

    def rows(self, number: int) -> Iterator[Row]:
        """Yield the rows of patient `number` (from 0) as (table, fields without ROW_ID)."""
        rng = random.Random(f"{self.seed}:{number}")
        person = self._person(rng, number)
        stays = list(self._stays(rng, person))
        yield _patient_row(rng, person, stays)
        for stay in stays:
            yield _admission_row(rng, person, stay)
            for place, condition in enumerate(stay.note.labels, start=1):
                yield ("DIAGNOSES_ICD", (person.subject, stay.number, place, condition.code))
            yield from self._note_rows(rng, person, stay)

    def _person(self, rng: random.Random, number: int) -> _Person:
        first = datetime(2100, 1, 1) + timedelta(minutes=rng.randrange(100 * 365 * 24 * 60))
        age = min(97, max(18, round(rng.gauss(66, 15))))
        birthday = first.date() - timedelta(days=rng.randrange(365))
        return _Person(
            subject=number + 1,
            gender=rng.choice("MF"),
            age=age,
            first=first,
            born=_years_before(birthday, age),
            facts=tuple(_pick(rng, table) for table in (_INSURANCES, _LANGUAGES, _RELIGIONS, _MARRIAGES, _ETHNICITIES)),
            clusters=tuple(rng.sample(self._clusters, 2)),
        )

    def _stays(self, rng: random.Random, person: _Person) -> Iterator[_Admission]:
        admitted, previous = person.first, None
        for place in range(MOST_STAYS):
            discharged = admitted + timedelta(minutes=1440 + int(rng.expovariate(1 / 8000)))
            age = _age(person, admitted)
            stay = HospitalStay(
                person=f"{age if age <= _OLDEST else '[**Age over 90 **]'} yo {person.gender}",
                complaint=rng.choice(self.notes.lexicon.words["complaints"]),
                clusters=person.clusters,
                admitted=admitted.date(),
                discharged=discharged.date(),
            )
            previous = self.notes.write(rng, stay, previous)
            yield _Admission(100_000 + 10 * person.subject + place, admitted, discharged, stay, previous)
            if previous.expired or rng.random() >= _ANOTHER_STAY:
                return
            admitted = discharged + timedelta(minutes=rng.randrange(10 * 1440, 600 * 1440))

    def _note_rows(self, rng: random.Random, person: _Person, stay: _Admission) -> Iterator[Row]:
        """Yield the summary and the other notes of a stay."""
        last = stay.discharged.date()
        yield _note_row(person, stay, last, None, "Discharge summary", "Report", None, stay.note.text)
        if rng.random() < 0.05:
            text = self.notes.other_note(rng, "Addendum", stay.stay)
            yield _note_row(person, stay, last + timedelta(days=1), None, "Discharge summary", "Addendum", None, text)
        if rng.random() < 0.02:
            wrong = self.notes.write(rng, stay.stay, None)
            yield _note_row(person, stay, last, None, "Discharge summary", "Report", 1, wrong.text)
        if rng.random() < 0.5:
            time = stay.admitted + timedelta(minutes=rng.randrange(60, 1440))
            text = self.notes.other_note(rng, "Nursing", stay.stay)
            yield _note_row(person, stay, time.date(), time, "Nursing", "Nursing Progress Note", None, text)
        if rng.random() < 0.5:
            time = stay.admitted + timedelta(minutes=rng.randrange(60, 1440))
            text = self.notes.other_note(rng, "Radiology", stay.stay)
            yield _note_row(person, stay, time.date(), time, "Radiology", "CHEST (PORTABLE AP)", None, text)


def written_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return `folder`, after `write` has filled it, under a file lock; it has its name only when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            if partial.exists():  # of a killed run
                shutil.rmtree(partial)
            partial.mkdir()
            write(partial)
            partial.rename(folder)
    return folder


def write_tables(folder: Path, columns: Mapping[str, str], rows: Iterable[Row]) -> None:
    """Write `TABLE.csv` for every table into `folder`, one row at a time.

    Args:
        folder: must exist.
        columns: table -> its columns, ROW_ID first.
        rows: without ROW_ID, which numbers the rows of a table from 1.
    """
    with ExitStack() as stack:
        files: dict[str, TextIO] = {}
        for table, names in columns.items():
            file = stack.enter_context((folder / f"{table}.csv").open("w", encoding="utf-8", newline=""))
            file.write(_line(tuple(names.split())))
            files[table] = file
        counts = dict.fromkeys(columns, 0)
        for table, fields in rows:
            counts[table] += 1
            files[table].write(_line((counts[table], *fields)))


def _patient_row(rng: random.Random, person: _Person, stays: list[_Admission]) -> Row:
    """Return the row of PATIENTS: DOD_HOSP is a death in hospital, DOD_SSN a later one, DOD either."""
    end = stays[-1].discharged
    born, hospital, register = person.born, None, None
    if _age(person, stays[-1].admitted) > _OLDEST:
        born = _years_before(person.first.date(), _SHIFT)
    if stays[-1].note.expired:
        hospital = _midnight(end.date())
    elif rng.random() < _LATER_DEATH:
        register = _midnight(end.date() + timedelta(days=rng.randint(1, 900)))
    dead = hospital or register
    return "PATIENTS", (person.subject, person.gender, _midnight(born), dead, hospital, register, int(dead is not None))


def _admission_row(rng: random.Random, person: _Person, stay: _Admission) -> Row:
    expired = stay.note.expired
    kind = _pick(rng, _KINDS)
    emergency = kind == "EMERGENCY"
    registered = stay.admitted - timedelta(minutes=rng.randrange(60, 600)) if emergency else None
    left = stay.admitted + timedelta(minutes=rng.randrange(1, 60)) if emergency else None
    return "ADMISSIONS", (
        person.subject,
        stay.number,
        stay.admitted,
        stay.discharged,
        stay.discharged if expired else None,
        kind,
        _pick(rng, _ORIGINS),
        "DEAD/EXPIRED" if expired else _pick(rng, _HOMES),
        *person.facts,
        registered,
        left,
        stay.stay.complaint.upper(),
        int(expired),
        1,
    )


def _note_row(
    person: _Person,
    stay: _Admission,
    day: date,
    time: datetime | None,
    category: str,
    description: str,
    error: int | None,
    text: str,
) -> Row:
    """Return the row of a note; summaries have no time and no caregiver."""
    caregiver = 14_000 + stay.number % 7_000 if time else None
    stored = time + timedelta(minutes=7) if time else None
    fields = (day, time, stored, category, description, caregiver, error, text)
    return "NOTEEVENTS", (person.subject, stay.number, *fields)


def _line(fields: tuple[Field, ...]) -> str:
    """Return a CSV record as in MIMIC-III: text quoted, numbers and times unquoted, null empty."""
    cells = []
    for field in fields:
        if isinstance(field, str):
            cells.append('"' + field.replace('"', '""') + '"')
        else:
            cells.append("" if field is None else str(field))
    return ",".join(cells) + "\n"


def _pick(rng: random.Random, table: tuple[tuple[str | None, ...], tuple[int, ...]]) -> str | None:
    return rng.choices(*table)[0]


def _age(person: _Person, moment: datetime) -> int:
    """Return the true age in completed years."""
    day, born = moment.date(), person.born
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _years_before(day: date, years: int) -> date:
    """Return the same day `years` earlier; 29 February becomes 28 if that year has none."""
    try:
        return day.replace(year=day.year - years)
    except ValueError:
        return day.replace(year=day.year - years, day=28)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)
