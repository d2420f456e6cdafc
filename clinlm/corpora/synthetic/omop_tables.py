"""Generates notes, visits, conditions and persons as tables of an OMOP CDM 5.4."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

from clinlm.corpora.synthetic.generated_folder import GeneratedFolder
from clinlm.corpora.synthetic.tables import COLUMNS, SyntheticTables, by_table

OMOP_COLUMNS: Final = {
    "person": "person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime race_concept_id "
    "ethnicity_concept_id person_source_value",
    "visit_occurrence": "visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime "
    "visit_end_date visit_end_datetime visit_type_concept_id",
    "condition_occurrence": "condition_occurrence_id person_id condition_concept_id condition_start_date "
    "condition_type_concept_id condition_source_value condition_source_concept_id visit_occurrence_id",
    "note": "note_id person_id note_date note_datetime note_type_concept_id note_class_concept_id note_title note_text "
    "encoding_concept_id language_concept_id visit_occurrence_id note_source_value",
}
"""Table -> its columns, those that clinlm reads and some that it does not."""

LOCAL: Final = 2_000_000_000
"""Concepts from here on are a site's own, by OMOP's rules; ours are LOCAL plus the place in the lexicon, from 1."""

_CLASSES = {"Discharge summary": 44814637, "Nursing": 44814640, "Radiology": 44814641}
_RACES = {"WHITE": 8527, "BLACK/AFRICAN AMERICAN": 8516, "ASIAN": 8515}
_INPATIENT, _ENGLISH, _RECORD, _UTF8 = 9201, 4180186, 32817, 32678
_LIMITED, _UNMAPPED = 90, 7
"""An exact year of birth is cut so that no age is above this; one condition of so many has no concept."""

OmopRow = tuple[str, Mapping[str, object]]


@final
class SyntheticOmop(GeneratedFolder):
    """Generated tables of an OMOP CDM as TABLE.csv: those of `SyntheticTables` (brief notes), as OMOP writes them.

    Conditions have local concepts, and ICD-9 codes as source values; some have concept 0. Notes with ISERROR are left
    out. Some notes have no visit, as those of a clinic's letter, and a few no text.
    """

    name = "omop"

    def __init__(self, root: str | Path, patients: int = 900, seed: int = 0) -> None:
        super().__init__(root, patients, seed)
        self._source = SyntheticTables(patients, seed, "brief")
        codes = [condition.code for condition in self._source.notes.lexicon.conditions]
        self._concepts = {code: LOCAL + place for place, code in enumerate(codes, start=1)}

    def write(self, folder: Path) -> None:
        with ExitStack() as stack:
            writers = {}
            for table, names in OMOP_COLUMNS.items():
                file = stack.enter_context((folder / f"{table}.csv").open("w", encoding="utf-8", newline=""))
                writers[table] = csv.DictWriter(file, names.split(), lineterminator="\n")
                writers[table].writeheader()
            for number in range(self.patients):
                for table, row in self.rows(number):
                    writers[table].writerow(row)

    def rows(self, number: int) -> Iterator[OmopRow]:
        """Yield the rows of patient `number` (from 0) as (table, cells by column)."""
        found = by_table(self._source.rows(number), COLUMNS)
        stays = {stay["HADM_ID"]: stay for stay in found["ADMISSIONS"]}
        yield "person", _person(found["PATIENTS"][0], found["ADMISSIONS"][0])
        for stay in stays.values():
            yield "visit_occurrence", _visit(stay)
        for place, row in enumerate(found.get("DIAGNOSES_ICD", ())):
            yield "condition_occurrence", self._condition(row, stays[row["HADM_ID"]], 1_000 * row["SUBJECT_ID"] + place)
        notes = [note for note in found["NOTEEVENTS"] if note["ISERROR"] is None]
        for place, note in enumerate(notes):
            yield "note", _note(note, 1_000 * note["SUBJECT_ID"] + place)

    def _condition(self, row: Mapping[str, Any], stay: Mapping[str, Any], number: int) -> dict[str, object]:
        day = stay["ADMITTIME"].date() + timedelta(days=row["SEQ_NUM"] % 2)
        return {
            "condition_occurrence_id": number,
            "person_id": row["SUBJECT_ID"],
            "condition_concept_id": 0 if number % _UNMAPPED == 0 else self._concepts[row["ICD9_CODE"]],
            "condition_start_date": day,
            "condition_type_concept_id": _RECORD,
            "condition_source_value": row["ICD9_CODE"],
            "condition_source_concept_id": 0,
            "visit_occurrence_id": row["HADM_ID"],
        }


def _person(person: Mapping[str, Any], stay: Mapping[str, Any]) -> dict[str, object]:
    born = max(person["DOB"].year, stay["ADMITTIME"].year - _LIMITED)
    race = _RACES.get(stay["ETHNICITY"], 0)
    return {
        "person_id": person["SUBJECT_ID"],
        "gender_concept_id": 8507 if person["GENDER"] == "M" else 8532,
        "year_of_birth": born,
        "race_concept_id": race,
        "ethnicity_concept_id": 38003563 if stay["ETHNICITY"] == "HISPANIC OR LATINO" else 38003564 if race else 0,
        "person_source_value": f"P{person['SUBJECT_ID']}",
    }


def _visit(stay: Mapping[str, Any]) -> dict[str, object]:
    begin, end = stay["ADMITTIME"], stay["DISCHTIME"]
    return {
        "visit_occurrence_id": stay["HADM_ID"],
        "person_id": stay["SUBJECT_ID"],
        "visit_concept_id": _INPATIENT,
        "visit_start_date": begin.date(),
        "visit_start_datetime": begin,
        "visit_end_date": end.date(),
        "visit_end_datetime": end,
        "visit_type_concept_id": _RECORD,
    }


def _note(note: Mapping[str, Any], number: int) -> dict[str, object]:
    """Return a row; of addenda, some have no visit or no text."""
    addendum = note["DESCRIPTION"] == "Addendum"
    return {
        "note_id": number,
        "person_id": note["SUBJECT_ID"],
        "note_date": note["CHARTDATE"],
        "note_datetime": note["CHARTTIME"],
        "note_type_concept_id": _RECORD,
        "note_class_concept_id": _CLASSES[note["CATEGORY"]],
        "note_title": note["DESCRIPTION"],
        "note_text": " " if addendum and number % 3 == 0 else note["TEXT"],
        "encoding_concept_id": _UTF8,
        "language_concept_id": _ENGLISH,
        "visit_occurrence_id": None if addendum and number % 3 == 1 else note["HADM_ID"],
        "note_source_value": note["CATEGORY"],
    }
