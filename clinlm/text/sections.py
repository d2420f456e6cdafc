"""Finds sections of notes by a fixed list of headers, so that reports never show words of a note."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Bool

SECTIONS: Final = {
    "allergies": ("allergies",),
    "anesthesia": ("anesthesia", "anaesthesia"),
    "assessment": ("assessment", "assessment and plan", "assessment/plan", "a/p"),
    "chief complaint": ("chief complaint", "cc", "reason for visit"),
    "complications": ("complications",),
    "diagnosis": ("diagnosis", "diagnoses", "final diagnosis", "final diagnoses"),
    "discharge condition": ("discharge condition", "condition on discharge"),
    "discharge diagnosis": ("discharge diagnosis", "discharge diagnoses"),
    "discharge instructions": ("discharge instructions", "followup instructions", "follow-up"),
    "family history": ("family history", "fhx", "fh"),
    "findings": ("findings",),
    "history of present illness": ("history of present illness", "hpi", "history"),
    "hospital course": ("hospital course", "brief hospital course", "course"),
    "impression": ("impression",),
    "indication": ("indication", "indications", "reason for exam", "indications for procedure"),
    "laboratory data": ("laboratory data", "labs", "laboratory studies", "pertinent results"),
    "medications": ("medications", "meds", "current medications", "medications on admission", "discharge medications"),
    "objective": ("objective",),
    "past medical history": ("past medical history", "pmh"),
    "past surgical history": ("past surgical history", "psh"),
    "physical examination": ("physical examination", "physical exam", "exam", "examination"),
    "plan": ("plan", "recommendations"),
    "postoperative diagnosis": ("postoperative diagnosis", "postoperative diagnoses"),
    "preoperative diagnosis": ("preoperative diagnosis", "preoperative diagnoses"),
    "prior note": ("per prior note",),
    "procedure": ("procedure", "procedures", "procedure performed", "procedures performed", "operation"),
    "procedure in detail": ("procedure in detail", "description of procedure", "operation performed"),
    "review of systems": ("review of systems", "ros"),
    "social history": ("social history", "shx"),
    "subjective": ("subjective",),
    "vital signs": ("vital signs", "vitals"),
}
"""Section -> spellings of its header in lower case, as in MIMIC-III and MTSamples."""

_NAMES = {written: name for name, ways in SECTIONS.items() for written in ways}
_WAYS = "|".join(re.escape(written) for written in sorted(_NAMES, key=len, reverse=True))
_HEADER = re.compile(rf"^[ \t]*({_WAYS})[ \t]*:", re.IGNORECASE | re.MULTILINE)


def split_sections(text: str) -> list[str]:
    """Cut the note before every header of `SECTIONS`; the joined parts are the note."""
    starts = [0, *(header.start() for header in _HEADER.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts) if start < end]


def section_masks(texts: Sequence[str]) -> dict[str, Bool[np.ndarray, " documents"]]:
    """Return section -> which texts have a line that begins with its header and a colon."""
    found = {name: np.zeros(len(texts), dtype=bool) for name in SECTIONS}
    for place, text in enumerate(texts):
        for header in _HEADER.finditer(text):
            found[_NAMES[header[1].lower()]][place] = True
    return found
