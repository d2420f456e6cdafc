"""Generates patients, admissions, codes and notes as files of MIMIC-IV and MIMIC-IV-Note."""

import csv
import gzip
import io
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, final

from clinlm.corpora.mimic.equivalence import read_equivalences
from clinlm.corpora.synthetic import lexicon
from clinlm.corpora.synthetic.generated_folder import GeneratedFolder
from clinlm.corpora.synthetic.outcome_tables import COLUMNS, SyntheticOutcomeTables
from clinlm.corpora.synthetic.tables import by_table

COLUMNS4: Final = {
    "hosp/patients": "subject_id gender anchor_age anchor_year anchor_year_group dod",
    "hosp/admissions": "subject_id hadm_id admittime dischtime deathtime admission_type admit_provider_id "
    "admission_location discharge_location insurance language marital_status race edregtime edouttime "
    "hospital_expire_flag",
    "hosp/diagnoses_icd": "subject_id hadm_id seq_num icd_code icd_version",
    "hosp/procedures_icd": "subject_id hadm_id seq_num chartdate icd_code icd_version",
    "note/discharge": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
    "note/radiology": "note_id subject_id hadm_id note_type note_seq charttime storetime text",
}
"""File -> its columns, in MIMIC-IV's order."""

EQUIVALENCES: Final = Path(__file__).with_name("icd9_to_icd10.txt")
"""Our codes in ICD-10, in the form of CMS's files; written for generated notes, and for nothing else."""

_PERSON, _STAY = 10_000_000, 20_000_000
_KINDS = {"EMERGENCY": "EW EMER.", "ELECTIVE": "ELECTIVE", "URGENT": "URGENT"}
_YEARS = {"2008 - 2010": 0.0, "2011 - 2013": 0.0, "2014 - 2016": 0.5, "2017 - 2019": 1.0, "2020 - 2022": 1.0}
"""anchor_year_group -> share of the stays coded in ICD-10, which began in October 2015."""

_OLDEST, _CAPPED = 89, 91
_HEAD = " \nName:  ___                     Unit No:   ___\n \n"
_MARK = re.compile(r"\[\*\*.*?\*\*\]")
_IMAGED, _OUTPATIENT, _CORRECTED = 0.5, 0.1, 0.05

Row4 = tuple[str, Mapping[str, object]]


@final
class SyntheticMimic4(GeneratedFolder):
    """Generated files of MIMIC-IV: those of `SyntheticOutcomeTables`, as MIMIC-IV writes them.

    Newborns and notes with ISERROR, which MIMIC-IV lacks, are left out. Stays are coded in ICD-9 or ICD-10, by the
    patient's anchor_year_group. Notes have `___` for what was removed, a head, and a space on every blank line. Half of
    the stays have a radiology report, which names no diagnosis; some of these have an addendum, or no hadm_id.
    """

    name = "mimic4"
    data = (EQUIVALENCES,)

    def __init__(self, root: str | Path, patients: int = 900, seed: int = 0) -> None:
        super().__init__(root, patients, seed)
        self._source = SyntheticOutcomeTables(patients, seed)
        self._tens, _ = read_equivalences(EQUIVALENCES)

    def write(self, folder: Path) -> None:
        """Write the six files into `folder`, a row at a time."""
        with ExitStack() as stack:
            writers = {}
            for table, names in COLUMNS4.items():
                path = folder / f"{table}.csv.gz"
                path.parent.mkdir(exist_ok=True)
                packed = stack.enter_context(gzip.GzipFile(path, "wb", mtime=0, compresslevel=5))
                text = stack.enter_context(io.TextIOWrapper(packed, encoding="utf-8", newline=""))
                writers[table] = csv.DictWriter(text, names.split(), lineterminator="\n")
                writers[table].writeheader()
            for number in range(self.patients):
                for table, row in self.rows(number):
                    writers[table].writerow(row)

    def rows(self, number: int) -> Iterator[Row4]:
        """Yield the rows of patient `number` (from 0) as (file, cells by column)."""
        rng = random.Random(f"mimic4:{self.seed}:{number}")
        found = by_table(self._source.rows(number), COLUMNS)
        stays = {stay["HADM_ID"]: stay for stay in found["ADMISSIONS"]}
        if any(stay["ADMISSION_TYPE"] == "NEWBORN" for stay in stays.values()):
            return
        years = rng.choice(list(_YEARS))
        person, first = found["PATIENTS"][0], found["ADMISSIONS"][0]["ADMITTIME"]
        yield "hosp/patients", _patient(person, first.year, years)
        ten = {number: rng.random() < _YEARS[years] for number in stays}
        for stay in stays.values():
            yield "hosp/admissions", _stay(stay)
        for table in ("DIAGNOSES_ICD", "PROCEDURES_ICD"):
            for row in found.get(table, ()):
                yield from self._codes(table, row, stays[row["HADM_ID"]], ten[row["HADM_ID"]])
        notes = [note for note in found.get("NOTEEVENTS", ()) if note["ISERROR"] is None]
        for place, note in enumerate(notes, start=1):
            kind = "DS" if note["DESCRIPTION"] == "Report" else "AD"
            yield "note/discharge", _note(note, kind, place, note["TEXT"])
        yield from _radiology(rng, stays.values())

    def _codes(self, table: str, row: Mapping[str, Any], stay: Mapping[str, Any], ten: bool) -> Iterator[Row4]:
        code = row["ICD9_CODE"]
        own = (code,) if code is None or not ten else self._tens[code]
        for each in own:
            cells = _ids(row) | {"seq_num": row["SEQ_NUM"], "icd_code": each, "icd_version": 10 if ten else 9}
            day = {"chartdate": stay["ADMITTIME"].date()} if table == "PROCEDURES_ICD" else {}
            yield f"hosp/{table.lower()}", cells | day


def _ids(row: Mapping[str, Any]) -> dict[str, object]:
    stay = row["HADM_ID"]
    return {"subject_id": _PERSON + row["SUBJECT_ID"], "hadm_id": None if stay is None else _STAY + stay}


def _patient(person: Mapping[str, Any], year: int, years: str) -> dict[str, object]:
    age = year - person["DOB"].year
    return {
        "subject_id": _PERSON + person["SUBJECT_ID"],
        "gender": person["GENDER"],
        "anchor_age": age if age <= _OLDEST else _CAPPED,
        "anchor_year": year,
        "anchor_year_group": years,
        "dod": person["DOD"].date() if person["DOD"] else None,
    }


def _stay(stay: Mapping[str, Any]) -> dict[str, object]:
    same = "admittime dischtime deathtime admission_location discharge_location insurance language marital_status"
    cells = {name: stay[name.upper()] for name in f"{same} edregtime edouttime hospital_expire_flag".split()}
    own = {"admission_type": _KINDS[stay["ADMISSION_TYPE"]], "race": stay["ETHNICITY"], "admit_provider_id": "P00001"}
    return _ids(stay) | cells | own


def _note(note: Mapping[str, Any], kind: str, place: int, text: str | None) -> dict[str, object]:
    ids = _ids(note)
    plain = None if text is None else _HEAD + _MARK.sub("___", text).replace("\n\n", "\n \n")
    moment = f"{note['CHARTDATE']} 00:00:00"
    return ids | {
        "note_id": f"{ids['subject_id']}-{kind}-{place}",
        "note_type": kind,
        "note_seq": place,
        "charttime": moment,
        "storetime": moment,
        "text": plain,
    }


def _radiology(rng: random.Random, stays: Any) -> Iterator[Row4]:
    """Yield reports, which deny what they name."""
    words = lexicon.SyntheticLexicon.load()
    place = 0
    for stay in stays:
        if rng.random() >= _IMAGED:
            continue
        place += 1
        view, denied = rng.choice(words.words["radiology"]), rng.choice(words.conditions).surfaces[0]
        text = f"EXAMINATION:  {view}\n\nINDICATION:  {stay['DIAGNOSIS'].lower()}\n\nIMPRESSION: \n\nNo {denied}.\n"
        home = {"HADM_ID": None} if rng.random() < _OUTPATIENT else {}
        about = {**stay, **home, "CHARTDATE": stay["ADMITTIME"].date()}
        yield "note/radiology", _note(about, "RR", place, text)
        if rng.random() < _CORRECTED:
            place += 1
            yield "note/radiology", _note(about, "AR", place, "ADDENDUM:\n\nThe time of the study was corrected.\n")
