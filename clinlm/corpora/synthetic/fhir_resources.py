"""Generates documents, conditions and patients as resources of HL7 FHIR R4, in Synthea's shape."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, final
from uuid import NAMESPACE_OID, uuid5

from clinlm.corpora.synthetic.generated_folder import GeneratedFolder
from clinlm.corpora.synthetic.tables import COLUMNS, SyntheticTables, by_table

KINDS: Final = ("Patient", "Condition", "DocumentReference")
ICD9: Final = "http://hl7.org/fhir/sid/icd-9-cm"

_TYPES = {"Discharge summary": ("18842-5", "Discharge summary"), "Nursing": ("34746-8", "Nurse Note")}
_OTHER = ("18748-4", "Diagnostic imaging study")
_LATIN = 5
"""One document of so many is in ISO 8859-1."""

FhirRow = tuple[str, dict[str, Any]]


@final
class SyntheticFhir(GeneratedFolder):
    """Generated KIND.ndjson: the rows of `SyntheticTables` (brief notes) as Synthea writes its own.

    ids are UUIDs of kind, seed and number. All but the last document of a patient are superseded; notes with ISERROR
    are entered in error, some addenda are PDF, or behind a URL; one condition in ten is refuted.
    """

    name = "fhir"

    def __init__(self, root: str | Path, patients: int = 900, seed: int = 0) -> None:
        super().__init__(root, patients, seed)
        self._source = SyntheticTables(patients, seed, "brief")

    def write(self, folder: Path) -> None:
        with ExitStack() as stack:
            files = {
                kind: stack.enter_context((folder / f"{kind}.ndjson").open("w", encoding="utf-8", newline="\n"))
                for kind in KINDS
            }
            for number in range(self.patients):
                for kind, resource in self.rows(number):
                    files[kind].write(json.dumps({"resourceType": kind, **resource}) + "\n")

    def rows(self, number: int) -> Iterator[FhirRow]:
        """Yield the resources of patient `number` (from 0) as (kind, fields)."""
        found = by_table(self._source.rows(number), COLUMNS)
        person = found["PATIENTS"][0]
        gender = {"M": "male", "F": "female"}[person["GENDER"]]
        yield "Patient", {"id": self._id("Patient", number), "gender": gender, "birthDate": str(person["DOB"].date())}
        for place, row in enumerate(found.get("DIAGNOSES_ICD", ())):
            yield "Condition", self._condition(number, place, row)
        notes = found["NOTEEVENTS"]
        for place, note in enumerate(notes):
            yield "DocumentReference", self._document(number, place, note, place == len(notes) - 1)

    def _id(self, kind: str, number: int, place: int = 0) -> str:
        return str(uuid5(NAMESPACE_OID, f"{kind} {self.seed} {number} {place}"))

    def _about(self, number: int, stay: int) -> tuple[dict[str, str], dict[str, str]]:
        patient, encounter = self._id("Patient", number), self._id("Encounter", number, stay)
        return {"reference": f"Patient/{patient}"}, {"reference": f"Encounter/{encounter}"}

    def _condition(self, number: int, place: int, row: Mapping[str, Any]) -> dict[str, Any]:
        subject, encounter = self._about(number, row["HADM_ID"])
        status = "refuted" if (number + place) % 10 == 0 else "confirmed"
        return {
            "id": self._id("Condition", number, place),
            "verificationStatus": {"coding": [{"code": status}]},
            "code": {"coding": [{"system": ICD9, "code": row["ICD9_CODE"]}]},
            "subject": subject,
            "encounter": encounter,
        }

    def _document(self, number: int, place: int, note: Mapping[str, Any], last: bool) -> dict[str, Any]:
        subject, encounter = self._about(number, note["HADM_ID"])
        code, display = _TYPES.get(note["CATEGORY"], _OTHER)
        day = note["CHARTTIME"] or datetime.combine(note["CHARTDATE"], datetime.min.time())
        wrong = note["ISERROR"] is not None
        return {
            "id": self._id("DocumentReference", number, place),
            "status": "entered-in-error" if wrong else "current" if last else "superseded",
            "type": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]},
            "subject": subject,
            "date": f"{day.isoformat()}.000+00:00",
            "content": [{"attachment": _attachment(number + place, note)}],
            "context": {"encounter": [encounter]},
        }


def _attachment(number: int, note: Mapping[str, Any]) -> dict[str, str]:
    if note["DESCRIPTION"] == "Addendum" and number % 3 == 0:
        return {"contentType": "application/pdf", "data": base64.b64encode(b"%PDF-1.7").decode()}
    if note["DESCRIPTION"] == "Addendum" and number % 3 == 1:
        return {"contentType": "text/plain", "url": "Binary/1"}
    charset = "iso-8859-1" if number % _LATIN == 0 else "utf-8"
    data = base64.b64encode(note["TEXT"].encode(charset, "replace")).decode()
    return {"contentType": f"text/plain; charset={charset}", "data": data}
