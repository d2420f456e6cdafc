"""HL7 FHIR: the texts of DocumentReference, labelled with the conditions of their encounter or patient."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import (
    GENERATED,
    NearDuplicates,
    Records,
    check_near_duplicates,
    count_notice,
    count_notices,
)
from clinlm.corpora.fhir.resources import Resource, attached_text, codings, field, reference, resource_files, resources
from clinlm.corpora.folder_corpus import FolderCorpus
from clinlm.corpora.synthetic.fhir_resources import SyntheticFhir
from clinlm.corpora.table_rows import age_text

Scope = Literal["encounter", "patient"]
ATTRIBUTES: Final = ("gender", "age", "type")
_SCHEMA: Final = {name: pl.String() for name in ("id", "group", "encounter", "date", "type", "text")}
_LONGEST = 64
_DENIED: Final = ("refuted", "entered-in-error")


@final
class Fhir(FolderCorpus):
    """One record per DocumentReference with an attachment of text/plain; labels are codes of Condition.

    Source: HL7 FHIR R4 (https://hl7.org/fhir/R4/documentreference.html), a resource a line, as bulk exports and Synthea
    write it: files whose names have the words DocumentReference, Condition and, for attributes, Patient, which may be
    missing.

    id = DocumentReference.id, group = the patient; records keep the order of the files. Text: the attachments of
    text/plain, decoded by their charset (UTF-8 without one). Left out, each counted: documents entered in error,
    without such an attachment, with a text behind a URL, or empty. Superseded documents stay: Synthea marks all but a
    patient's last so. labels: the distinct codes of the conditions of the encounter, in the files' order, without those
    refuted or entered in error; a note without one stays, and is counted. Attributes: `ATTRIBUTES`; the age is in
    years between birthDate and date, from 90 on "90+".

    Memory holds the kept notes, their conditions, and one line.

    Args:
        root: folder of the files; None for generated notes.
        scope: `encounter`, or `patient`: all conditions of the patient, also later ones.
        system: URI of the code system of the labels (http://snomed.info/sct); None takes the first code of a condition.
        near_duplicates: `count`, `merge` or `ignore` those of other patients; see `clinlm.corpora.repeats`.
        generated: generates the files if `root` is None.

    Raises:
        ConfigError: a setting is out of range, or neither `root` nor `generated` is set.
    """

    def __init__(
        self,
        root: str | Path | None,
        scope: Scope = "encounter",
        system: str | None = None,
        near_duplicates: NearDuplicates = "count",
        generated: SyntheticFhir | None = None,
    ) -> None:
        if scope not in get_args(Scope):
            raise ConfigError(f"scope must be one of {', '.join(get_args(Scope))}, got {scope!r}")
        super().__init__(root, generated, "the folder of NDJSON files")
        self.scope, self.system = scope, system
        self.near_duplicates = check_near_duplicates(near_duplicates)

    def check(self) -> None:
        """Check also that there are documents and conditions."""
        super().check()
        if self.root is not None:
            self._require(self.root)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a document has no id or patient, an id is on two, a reference is of another kind, or an
                attachment cannot be decoded.
        """
        root = self.folder()
        self._require(root)
        notes, dropped = _notes(root)
        labels, unlabelled = self._labels(root, notes)
        found = [labels.get(key, []) for key in notes["encounter" if self.scope == "encounter" else "group"]]
        people = _people(root, set(notes["group"]))
        facts = [people.get(group, (None, None)) for group in notes["group"]]
        years = [_completed_years(born, date) for (_, born), date in zip(facts, notes["date"], strict=True)]
        frame = notes.with_columns(
            pl.Series("labels", found, dtype=pl.List(pl.String)),
            pl.Series("gender", [gender for gender, _ in facts], dtype=pl.String),
            pl.Series("age", years, dtype=pl.Int64),
        ).with_columns(age_text(pl.col("age")))
        bare = sum(not own for own in found)
        if bare == len(found):
            raise DataError(
                f"notes must have conditions, Condition has none for the {len(found):,} notes by {self.scope}; set "
                "scope, or system"
            )
        unlabelled += count_notice(bare, len(found), "notes have no condition")
        columns = ("id", "group", "text", "labels", pl.struct(ATTRIBUTES).alias("attributes"))
        return Records(frame.select(columns), (*([] if self.root else [GENERATED]), *dropped, *unlabelled))

    def paths(self, root: Path | None) -> list[Path]:
        """See `FolderCorpus.paths`."""
        if root is None:
            return []
        return [path for kind in ("DocumentReference", "Condition", "Patient") for path in resource_files(root, kind)]

    @staticmethod
    def _require(root: Path) -> None:
        missing = [kind for kind in ("DocumentReference", "Condition") if not resource_files(root, kind)]
        if missing:
            raise DataError(
                f"root must have files of {' and '.join(missing)} (such as {missing[0]}.ndjson), {root} has none; set "
                "root to a bulk export"
            )

    def _labels(self, root: Path, notes: pl.DataFrame) -> tuple[dict[str | None, list[str]], list[str]]:
        """Return the labels of every encounter, or patient, of the notes; and notices."""
        encounter = self.scope == "encounter"
        known = set(notes["encounter" if encounter else "group"].drop_nulls())
        labels: dict[str | None, list[str]] = {}
        counts: Counter[str] = Counter()
        for place, condition in resources(root, "Condition"):
            kind, name = ("Encounter", "encounter") if encounter else ("Patient", "subject")
            key = reference(condition.get(name), kind, place)
            if key not in known:
                continue
            counts["all"] += 1
            if field(condition, "verificationStatus", "coding", 0, "code") in _DENIED:
                counts["conditions dropped: refuted, or entered in error"] += 1
                continue
            found = [code for system, code, _ in codings(condition.get("code")) if self.system in (None, system)]
            if not found:
                counts[f"conditions dropped: no code{f' of {self.system}' if self.system else ''}"] += 1
                continue
            own = labels.setdefault(key, [])
            if found[0] not in own:
                own.append(_label(found[0], place))
        total = counts.pop("all", 0)
        return labels, count_notices((count, f"of {total:,} {what}") for what, count in counts.items())


def _label(code: str, place: str) -> str:
    if len(code) > _LONGEST or len(code.split()) != 1:
        raise DataError(f"a code must be one word of at most {_LONGEST} characters, {place} has another; set system")
    return code


def _notes(root: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return the documents to keep, and notices."""
    counts: Counter[str] = Counter()
    notes = pl.DataFrame(_documents(root, counts), schema=_SCHEMA, orient="row")
    total = counts.pop("all", 0)
    notices = count_notices((count, f"of {total:,} documents dropped: {what}") for what, count in counts.items())
    if not notes.height:
        raise DataError(f"a corpus must have a note, DocumentReference has none; {'; '.join(notices) or 'fill it'}")
    if notes["id"].is_duplicated().any():
        raise DataError("the id of a DocumentReference must be on one line, some are on several; remove the repeats")
    return notes, notices


def _documents(root: Path, counts: Counter[str]) -> Iterator[tuple[str | None, ...]]:
    for place, document in resources(root, "DocumentReference"):
        counts["all"] += 1
        if "entered-in-error" in (document.get("status"), document.get("docStatus")):
            counts["entered in error"] += 1
            continue
        text, reason = attached_text(document, place)
        if text is None or not text.strip():
            counts[reason or "empty text"] += 1
            continue
        id, group = document.get("id"), reference(document.get("subject"), "Patient", place)
        if not isinstance(id, str) or not id or group is None:
            raise DataError(f"a DocumentReference must have an id and a subject, {place} lacks one; export it again")
        stay = reference(field(document, "context", "encounter", 0), "Encounter", place)
        kinds = codings(document.get("type"))
        date = document.get("date")
        yield id, group, stay, date if isinstance(date, str) else None, kinds[0][1] if kinds else None, text


def _people(root: Path, known: set[str]) -> dict[str, tuple[Any, Any]]:
    """Return gender and birthDate of patients."""
    found: dict[str, tuple[Any, Any]] = {}
    person: Resource
    for _, person in resources(root, "Patient"):
        id, gender, born = (person.get(name) for name in ("id", "gender", "birthDate"))
        if isinstance(id, str) and id in known:
            found[id] = (gender if isinstance(gender, str) else None, born)
    return found


def _completed_years(born: Any, date: str | None) -> int | None:
    """Return completed years between two dates in ISO 8601, of which the first may be a year alone."""
    if not isinstance(born, str) or date is None or not (born[:4].isdigit() and date[:4].isdigit()):
        return None
    return int(date[:4]) - int(born[:4]) - (len(born) == 10 and date[5:10] < born[5:10])
