"""What happens to the text of a note on its way: misspellings, abbreviations, lost sections, marks, capitals, and more.

Each is a function of a text and a generator of random numbers. What it cannot change it returns as it is.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from clinlm.text.sections import split_sections

Perturb = Callable[[str, np.random.Generator], str]

SHARE: Final = 0.1
"""Share of the words of at least four letters that are misspelt."""

ABBREVIATIONS: Final = {
    "patient": "pt",
    "history": "hx",
    "diagnosis": "dx",
    "treatment": "tx",
    "symptoms": "sx",
    "fracture": "fx",
    "prescription": "rx",
    "without": "w/o",
    "with": "w/",
    "before": "a",
    "after": "p",
    "every": "q",
    "twice daily": "BID",
    "three times daily": "TID",
    "as needed": "PRN",
    "by mouth": "PO",
    "blood pressure": "BP",
    "heart rate": "HR",
    "respiratory rate": "RR",
    "temperature": "T",
    "shortness of breath": "SOB",
    "chest pain": "CP",
    "year old": "y/o",
    "year-old": "y/o",
    "congestive heart failure": "CHF",
    "coronary artery disease": "CAD",
    "hypertension": "HTN",
    "diabetes mellitus": "DM",
    "chronic obstructive pulmonary disease": "COPD",
    "atrial fibrillation": "AF",
    "myocardial infarction": "MI",
    "urinary tract infection": "UTI",
    "acute kidney injury": "AKI",
    "pneumonia": "PNA",
    "bilateral": "b/l",
    "left": "L",
    "right": "R",
    "within normal limits": "WNL",
    "no known drug allergies": "NKDA",
    "family history": "FHx",
    "social history": "SHx",
    "past medical history": "PMH",
    "physical examination": "PE",
}
"""Spelt out -> as it is written in haste."""

NEGATIONS: Final = (
    ("denies", "reports"),
    ("denied", "reported"),
    ("without", "with"),
    ("negative for", "positive for"),
    ("no evidence of", "evidence of"),
    ("no signs of", "signs of"),
    ("absence of", "presence of"),
    ("is not", "is"),
    ("was not", "was"),
    ("has no", "has"),
    ("had no", "had"),
    ("no", "has"),
)
"""What denies -> what asserts. Flipped in both directions, but for what asserts and is in `_ONE_WAY`."""
_ONE_WAY: Final = ("with", "is", "was", "has", "had")
"""What asserts, and stands in most sentences: it is not flipped."""


@final
@dataclass(frozen=True)
class Perturbation:
    """A kind of change.

    Attributes:
        keeps_labels: whether what is true of the patient stays true of the changed note; else only the models' own
            answers can be compared, before and after.
        about: what it does, and what follows for labels, in a sentence.
    """

    perturb: Perturb
    keeps_labels: bool
    about: str


def _alternatives(words: Mapping[str, str] | list[str]) -> re.Pattern[str]:
    longest = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, longest))})\b", re.IGNORECASE)


_WORD = re.compile(r"[^\W\d_]{4,}")
_SPELT_OUT = _alternatives(ABBREVIATIONS)
_FLIPPED = dict(NEGATIONS) | {b: a for a, b in NEGATIONS if b not in _ONE_WAY}
_CUES = _alternatives(_FLIPPED)
_IDENTIFYING = re.compile(
    r"\b(?:Dr|Mr|Mrs|Ms|Prof)\.?\s+[A-Z][\w'-]+"  # names with a title
    r"|\b\d{1,4}[/-]\d{1,2}(?:[/-]\d{1,4})?\b"  # dates
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\s+\d{1,4}\b"
    r"|\b\d{1,3}[ -]years?[ -]old\b|\b(?:19|20)\d\d\b|\b\d{5,}\b"
)


def misspell(text: str, rng: np.random.Generator) -> str:
    """Return the text with letters of a tenth of its longer words swapped, dropped or doubled."""

    def changed(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() >= SHARE:
            return word
        place, how = int(rng.integers(1, len(word) - 1)), int(rng.integers(3))
        if how == 0:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        return word[:place] + word[place + 1 :] if how == 1 else word[:place] + word[place] + word[place:]

    return _WORD.sub(changed, text)


def abbreviate(text: str, rng: np.random.Generator) -> str:
    """Return the text with words of `ABBREVIATIONS` as they are written in haste."""
    return _SPELT_OUT.sub(lambda match: ABBREVIATIONS[match[0].lower()], text)


def flip_negations(text: str, rng: np.random.Generator) -> str:
    """Return the text with every cue of `NEGATIONS` flipped: what was denied is asserted, and the reverse."""

    def flipped(match: re.Match[str]) -> str:
        found = _FLIPPED[match[0].lower()]
        return found.capitalize() if match[0][0].isupper() else found

    return _CUES.sub(flipped, text)


def lose_section(text: str, rng: np.random.Generator) -> str:
    """Return the text without one of its sections; without headers, without one of its paragraphs."""
    parts = split_sections(text)
    if len(parts) < 2:
        parts = re.split(r"(?<=\n)\s*\n", text)
    if len(parts) < 2:
        return text
    lost = int(rng.integers(len(parts)))
    return "".join(part for number, part in enumerate(parts) if number != lost)


def truncate(text: str, rng: np.random.Generator) -> str:
    """Return the first half of the text, up to the end of a word."""
    return text[: len(text) // 2].rpartition(" ")[0] or text


def capitalise(text: str, rng: np.random.Generator) -> str:
    """Return the text in capitals."""
    return text.upper()


def deidentify(text: str, rng: np.random.Generator) -> str:
    """Return the text with marks as in MIMIC-III in place of names with a title, dates, ages and long numbers."""
    return _IDENTIFYING.sub(lambda match: f"[**{len(match[0]):04d}**]", text)


_LOST = "what is true of the patient stays true, though what said so may be gone"
PERTURBATIONS: Final = {
    "misspellings": Perturbation(
        misspell, True, f"letters of {SHARE:.0%} of the longer words swapped, dropped or doubled"
    ),
    "abbreviations": Perturbation(abbreviate, True, "common clinical terms as they are written in haste"),
    "section loss": Perturbation(lose_section, True, f"one section, or paragraph, is missing: {_LOST}"),
    "truncation": Perturbation(truncate, True, f"the second half is missing: {_LOST}"),
    "capitals": Perturbation(capitalise, True, "the whole note in capitals"),
    "de-identification": Perturbation(
        deidentify, True, "marks as in MIMIC-III for names with a title, dates, ages, numbers"
    ),
    "negation flips": Perturbation(
        flip_negations,
        False,
        "what was denied is asserted, and the reverse: which labels change no rule knows, so the "
        "table has how often a model's own decisions change, of notes with a cue",
    ),
}
"""Name -> what it does, in the order of a table."""


def perturbed(name: str, text: str, document: int, seed: int) -> str:
    """Return a text after one of `PERTURBATIONS`; it depends on nothing but the text, its number and the seed."""
    kind = [*PERTURBATIONS].index(name)
    return PERTURBATIONS[name].perturb(text, np.random.default_rng((seed, kind, document)))
