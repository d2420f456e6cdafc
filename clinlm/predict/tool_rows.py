"""Labeled notes as annotation tools import them: one JSON object a note, with its whole text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clinlm.predict.predictions import Row
from clinlm.terminology.spans import Span


def doccano_row(text: str, spans: Sequence[Span]) -> Row:
    """Return a note as a line of doccano's JSONL for sequence labeling; offsets are characters."""
    return {"text": text, "label": [[span.start, span.end, span.label] for span in spans]}


def label_studio_row(text: str, spans: Sequence[Span]) -> Row:
    """Return a note as a task of Label Studio with a prediction, for a control `label` on a text `text`.

    Offsets are units of UTF-16, as browsers count.
    """
    results: list[dict[str, Any]] = []
    for number, span in enumerate(spans):
        edges = {name: _units(text[:place]) for name, place in (("start", span.start), ("end", span.end))}
        value = {**edges, "text": text[span.start : span.end], "labels": [span.label]}
        control = {"from_name": "label", "to_name": "text", "type": "labels"}
        results.append({"id": f"span-{number}", **control, "value": value})
    return {"data": {"text": text}, "predictions": [{"model_version": "clinlm", "result": results}]}


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


TOOLS: Final[Mapping[str, Callable[[str, Sequence[Span]], Row]]] = {
    "doccano": doccano_row,
    "label_studio": label_studio_row,
}
"""Tool -> what it imports of a note."""
