"""Laws of the FHIR reader: equal to a second, slower way on generated resources, and every oddity by hand."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.fhir.fhir import Fhir
from clinlm.corpora.synthetic.fhir_resources import ICD9, KINDS, SyntheticFhir


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticFhir(tmp_path_factory.mktemp("fhir"), patients=60).tables()


def read(root: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / f"{kind}.ndjson").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("scope", ["encounter", "patient"])
def test_generated_resources_come_out_as_by_a_slower_way(root: Path, scope: Any) -> None:
    labels: dict[str, list[str]] = {}
    for one in read(root, "Condition"):
        key = one["encounter" if scope == "encounter" else "subject"]["reference"].split("/")[1]
        code = one["code"]["coding"][0]["code"]
        if one["verificationStatus"]["coding"][0]["code"] != "refuted" and code not in labels.setdefault(key, []):
            labels[key].append(code)
    right = []
    for one in read(root, "DocumentReference"):
        attachment = one["content"][0]["attachment"]
        if one["status"] == "entered-in-error" or "pdf" in attachment["contentType"] or "url" in attachment:
            continue
        text = base64.b64decode(attachment["data"]).decode(attachment["contentType"].partition("charset=")[2])
        person = one["subject"]["reference"].split("/")[1]
        key = one["context"]["encounter"][0]["reference"].split("/")[1] if scope == "encounter" else person
        right.append((one["id"], person, text, labels.get(key, [])))
    corpus = Fhir(root, scope)
    corpus.check()
    records = corpus.records()
    assert tuple(records.frame.columns) == COLUMNS and not corpus.remote_allowed
    assert records.frame.select("id", "group", "text", "labels").rows() == right and len(right) > 80
    told = " ".join(records.notices)
    for what in ("entered in error", "no attachment of text/plain", "their text is elsewhere", "refuted"):
        assert what in told, what
    assert set(records.frame["attributes"].struct.field("gender")) == {"male", "female"}
    born = {one["id"]: one["birthDate"] for one in read(root, "Patient")}
    dates = {one["id"]: one["date"] for one in read(root, "DocumentReference")}
    for id, group, own in records.frame.select("id", "group", "attributes").iter_rows():
        years = int(dates[id][:4]) - int(born[group][:4]) - (dates[id][5:10] < born[group][5:])
        assert own["age"] == ("90+" if years >= 90 else str(years))


def test_files_of_a_bulk_export_are_read_in_order(root: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        lines = (root / f"{kind}.ndjson").read_text(encoding="utf-8").splitlines(keepends=True)
        half = len(lines) // 2
        (tmp_path / f"{kind}.000.ndjson").write_text("".join(lines[:half]))
        (tmp_path / f"{kind}.001.ndjson").write_text("".join(lines[half:]))
    assert Fhir(tmp_path).records().frame.equals(Fhir(root).records().frame)
    (tmp_path / "Condition.001.ndjson").unlink()
    assert Fhir(tmp_path).fingerprint() != Fhir(root).fingerprint()


def document(text: bytes = b"secret", kind: str = "text/plain", **other: Any) -> dict[str, Any]:
    attachment = {"contentType": kind, "data": base64.b64encode(text).decode()}
    return {
        "resourceType": "DocumentReference",
        "id": "d",
        "subject": {"reference": "Patient/p"},
        "content": [{"attachment": attachment}],
        "context": {"encounter": [{"reference": "Encounter/e"}]},
    } | other


def condition(code: str = "I10", **other: Any) -> dict[str, Any]:
    coding = [{"system": "http://snomed.info/sct", "code": code}, {"system": ICD9, "code": "4019"}]
    return {
        "resourceType": "Condition",
        "code": {"coding": coding},
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "https://here.example/fhir/Encounter/e/_history/2"},
    } | other


def small(root: Path, documents: list[Any], conditions: list[Any] | None = None) -> Fhir:
    for kind, rows in (("DocumentReference", documents), ("Condition", conditions or [condition()])):
        (root / f"{kind}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Fhir(root)


def test_charsets_and_several_attachments(tmp_path: Path) -> None:
    plain = document("Schädel".encode("cp1252"), "Text/Plain; charset=windows-1252")["content"]
    page = document(b"<p>x</p>", "text/html")["content"]
    none = document("é".encode(), "text/plain")["content"]
    found = small(tmp_path, [document(content=[*page, *plain, *none])]).records()
    assert found.frame["text"].to_list() == ["Schädel\n\né"] and found.frame["labels"].to_list() == [["I10"]]
    assert Fhir(tmp_path, system=ICD9).records().frame["labels"].to_list() == [["4019"]]
    assert found.frame["attributes"][0] == {"gender": None, "age": None, "type": None}


@pytest.mark.parametrize(
    ("documents", "conditions", "law"),
    [
        ([document(b"\xff")], None, "an attachment must be in its charset, DocumentReference.ndjson line 1 is not"),
        ([document(kind="text/plain; charset=secret")], None, "the charset of an attachment must be known"),
        ([document(content=[{"attachment": {"data": "se!cret"}}])], None, "attachment.data must be base64"),
        ([document(kind="text/html")], None, "1 of 1 documents dropped: no attachment of text/plain"),
        ([document(b" \n")], None, "1 of 1 documents dropped: empty text"),
        ([document(content=True)], None, "1 of 1 documents dropped: no attachment of text/plain"),
        ([document()], [condition() | {"code": {"coding": True}}], "notes must have conditions"),
        ([document(status="entered-in-error")], None, "1 of 1 documents dropped: entered in error"),
        ([document(), document()], None, "the id of a DocumentReference must be on one line"),
        ([document(id="a"), document(subject=None)], None, "line 2 lacks one"),
        ([document(subject={"reference": "Group/secret"})], None, "a reference must be Patient/ID"),
        ([condition()], None, "every line must be a DocumentReference, DocumentReference.ndjson line 1 is not"),
        ([document()], [condition(encounter=None)], "notes must have conditions, Condition has none for the 1 notes"),
        ([document()], [condition("two secret words")], "a code must be one word"),
    ],
)
def test_bad_resources_are_errors_without_text(tmp_path: Path, documents: Any, conditions: Any, law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        small(tmp_path, documents, conditions).records()
    assert "secret" not in str(error.value)


def test_a_patient_whose_id_is_no_text_is_nobody(tmp_path: Path) -> None:
    (tmp_path / "Patient.ndjson").write_text('{"resourceType": "Patient", "id": ["p"], "gender": "male"}\n')
    assert small(tmp_path, [document()]).records().frame["attributes"][0]["gender"] is None


def test_files_and_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root must have files of DocumentReference and Condition"):
        Fhir(tmp_path).check()
    with pytest.raises(ConfigError, match="scope must be one of"):
        Fhir(tmp_path, scope="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got null"):
        Fhir(None)
    made = Fhir(None, generated=SyntheticFhir(tmp_path, patients=8))
    assert made.remote_allowed and made.records().notices[0].startswith("generated notes")
