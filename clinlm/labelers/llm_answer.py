"""The answer of a language model: its form, and how it is read. Messages never repeat what it holds."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Mentions = Literal["all", "numbered"]
"""Which places of the note an entity marks: every one where its text stands, or the one that the answer numbers."""


class Entity(NamedTuple):
    """A text that the model says stands in the note, its label, and which of its places (from 1; None: all)."""

    text: str
    label: str
    occurrence: int | None = None


class Malformed(ValueError):
    """An answer that is not in the form asked for; the message says how, and repeats nothing of it."""


def schema(labels: Sequence[str], mentions: Mentions) -> dict[str, Any]:
    """Return the JSON schema of an answer, strict: every field is there, and no other."""
    fields: dict[str, Any] = {"text": {"type": "string"}, "label": {"type": "string", "enum": list(labels)}}
    if mentions == "numbered":
        fields["occurrence"] = {"type": ["integer", "null"]}
    entity = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    listed = {"type": "array", "items": entity}
    return {
        "type": "object",
        "properties": {"entities": listed},
        "required": ["entities"],
        "additionalProperties": False,
    }


def entities(content: str) -> list[Entity]:
    """Return the entities of an answer.

    What models put around their JSON is taken off: reasoning up to `</think>`, and a fence of a code block.

    Raises:
        Malformed: it is no JSON, or JSON of another form.
    """
    answer = content.rpartition("</think>")[2].strip()
    fenced = re.fullmatch(r"```\w*\s*(.*?)\s*```", answer, re.DOTALL)
    try:
        told = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        told = None
    if told is None:
        raise Malformed("the answer is no JSON, or was cut off")
    if not isinstance(told, dict) or not isinstance(told.get("entities"), list):
        raise Malformed("the answer is JSON without a list of entities")
    return [_entity(one) for one in told["entities"]]


def _entity(told: Any) -> Entity:
    if not isinstance(told, dict) or not all(isinstance(told.get(name), str) for name in ("text", "label")):
        raise Malformed("an entity of the answer lacks its text or its label")
    occurrence = told.get("occurrence")
    if occurrence is not None and (type(occurrence) is not int or occurrence < 1):
        raise Malformed("an entity of the answer has an occurrence that is no number from 1 on")
    return Entity(told["text"], told["label"], occurrence)
