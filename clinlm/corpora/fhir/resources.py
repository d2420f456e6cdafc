"""Resources of HL7 FHIR R4 in NDJSON: where the files lie, and what their fields say."""

import base64
import binascii
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, Final

from clinlm.config.errors import DataError, MissingFileError
from clinlm.files.json_lines import numbered_objects

ENDINGS: Final = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")

Resource = Mapping[str, Any]


def resource_files(root: Path, kind: str) -> list[Path]:
    """Return the files of a kind of resource, by name: Condition.ndjson, Condition.000.ndjson, 1.Condition.ndjson, ...

    Raises:
        MissingFileError: `root` is no folder.
    """
    if not root.is_dir():
        raise MissingFileError(f"root must be a folder of FHIR's NDJSON files, got {root}; set root to it")
    found = [path for path in root.iterdir() if path.name.lower().endswith(ENDINGS) and kind in path.name.split(".")]
    return sorted(found)


def resources(root: Path, kind: str) -> Iterator[tuple[str, Resource]]:
    """Yield where every resource of a kind stands ("FILE line 3"), and the resource, one line in memory.

    Raises:
        DataError: a line is no JSON object, or another kind of resource.
    """
    for path in resource_files(root, kind):
        for line, item in numbered_objects(path):
            place = f"{path.name} line {line:,}"
            if item.get("resourceType") != kind:
                raise DataError(f"every line must be a {kind}, {place} is not; put each kind into its own files")
            yield place, item


def reference(value: Any, kind: str, place: str) -> str | None:
    """Return the id that a Reference names ("Patient/ID", a URL that ends so, or "urn:uuid:ID"); None without one.

    Raises:
        DataError: it names another kind of resource.
    """
    text = field(value, "reference")
    if not isinstance(text, str) or not text:
        return None
    if text.startswith("urn:uuid:"):
        return text.removeprefix("urn:uuid:")
    name, id = ["", *text.partition("/_history")[0].split("/")][-2:]
    if name != kind or not id:
        raise DataError(f"a reference must be {kind}/ID, {place} has another; export the resources again")
    return id


def field(value: Any, *names: str | int) -> Any:
    """Return what stands under names and places, one inside the other; None where something is missing."""
    for name in names:
        if isinstance(name, int):
            value = value[name] if isinstance(value, list) and len(value) > name else None
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _list(value: Any, name: str) -> list[Any]:
    """Return the list that stands under a name; an empty one where something else does."""
    found = field(value, name)
    return found if isinstance(found, list) else []


def codings(concept: Any) -> list[tuple[str, str, str]]:
    """Return system, code and display of every coding of a CodeableConcept that has a code."""
    parts = [
        [str(field(one, name) or "") for name in ("system", "code", "display")] for one in _list(concept, "coding")
    ]
    return [(system, code, display) for system, code, display in parts if code]


def attached_text(document: Resource, place: str) -> tuple[str | None, str]:
    """Return the text of a DocumentReference: its attachments of text/plain, with a blank line between; or why not.

    Raises:
        DataError: an attachment is not in base64, or not in its charset.
    """
    texts, elsewhere = [], 0
    for content in _list(document, "content"):
        attachment = field(content, "attachment")
        kind = Message()
        kind["Content-Type"] = str(field(attachment, "contentType") or "text/plain")
        if kind.get_content_type() != "text/plain":
            continue
        data = field(attachment, "data")
        if not isinstance(data, str):
            elsewhere += 1
            continue
        texts.append(_decoded(data, kind.get_content_charset("utf-8"), place))
    if texts:
        return "\n\n".join(texts), ""
    return None, "their text is elsewhere (attachment.url)" if elsewhere else "no attachment of text/plain"


def _decoded(data: str, charset: str, place: str) -> str:
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"attachment.data must be base64, {place} has something else; export it again") from None
    try:
        return raw.decode(charset).removeprefix("\ufeff")
    except LookupError:
        raise DataError(f"the charset of an attachment must be known, that of {place} is not; correct it") from None
    except UnicodeError:
        raise DataError(
            f"an attachment must be in its charset, {place} is not in {charset}; correct contentType, or convert it"
        ) from None
