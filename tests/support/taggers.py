"""Notes whose entities are known, and a task on them, small enough to train a tagger in a second."""

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

from clinlm.corpora.span_table import SpanTable
from clinlm.labelers.base import Labeler
from clinlm.labelers.human import Human
from clinlm.tasks.entities import Entities
from clinlm.terminology.spans import Span
from clinlm.text.long_notes import LongNotes, Windows

NAMES = {
    "asthma": "DISEASE",
    "gout": "DISEASE",
    "heart failure": "DISEASE",
    "aspirin": "MEDICATION",
    "vitamin B12": "MEDICATION",
    "IL-6 blocker": "MEDICATION",
}
"""What is an entity wherever it stands, and its label."""
_FILLER = "the patient was seen today , feels well and will return soon ; plan : go on with it .".split()
_ODD = (
    "na\u0131\u0308ve 👩\u200d⚕️ says: gout\u0301 or\u200bgout?! 痛風 aspirin/asthma",
    "\u00adaspirin \x07\x00 IL-6 blocker\u2028heart failure\r\n\t\u3000asthma",
    "(aspirin)(asthma)\ufeff\u202eBGI\u202c \ue000 gout",
    "\U000e0067\u200f\u200b\u20dd",
    "5mg",
)


def notes(count: int = 27) -> list[dict[str, Any]]:
    """Return notes, three a group: short ones, some longer than many rows, odd ones, and ones without an entity."""
    rng, found = random.Random(4), []
    for number in range(count):
        parts: list[tuple[str, str | None]] = []
        for _ in range(rng.choice([2, 4, 8, 24]) if number % 3 else 12):
            parts.append((rng.choice(_FILLER), None))
            if rng.random() < 0.4:
                name = rng.choice(list(NAMES))
                parts.append((name, NAMES[name]))
        text, spans = "", []
        for part, label in parts:
            if label is not None:
                spans.append({"start": len(text), "end": len(text) + len(part), "label": label})
            text += part + rng.choice([" ", " ", "\n", "  "])
        found.append({"id": f"t{number}", "group": f"g{number // 3}", "text": text, "spans": spans})
    for number, text in enumerate(_ODD):
        places = [(text.find(name), name) for name in NAMES]
        spans = [{"start": at, "end": at + len(name), "label": NAMES[name]} for at, name in places if at >= 0]
        found.append({"id": f"odd{number}", "group": f"odd{number}", "text": text, "spans": spans})
    return found


def spans_of(note: dict[str, Any]) -> list[Span]:
    """Return the spans of a note, in order."""
    return sorted(Span(**one) for one in note["spans"])


def written(path: Path, some: list[dict[str, Any]] | None = None) -> Path:
    """Write notes as JSON Lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in some or notes()), encoding="utf-8")
    return path


def opened(
    path: Path, store: Path, labeler: Labeler | None = None, long_notes: LongNotes | None = None, **settings: Any
) -> Entities:
    """Return an opened task on the notes of a file: rows of 24 tokens, in windows."""
    corpus = partial(SpanTable, id="id", group="group")
    told = {"max_tokens": 24, "shares": (0.6, 0.2, 0.2)} | settings
    task = Entities(corpus, str(path), long_notes or Windows(overlap=0.25, most=50), labeler or Human(), **told)
    task.open(store, f"{len(list(store.glob('task-*')))}" if store.exists() else "0")
    return task


TINY = (
    "task=entities",
    "corpus@task.corpus=span_table",
    "task.labels=null",
    "task.max_tokens=24",
    "epochs=1",
)
"""Beside `pipelines.TINY`: pipelines on the notes of a file that `written` wrote."""
