"""Complaints: generated notes about symptoms, each asserted, negated, a relative's, historical or hypothetical."""

import random
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import polars as pl

from clinlm.config.errors import ConfigError
from clinlm.corpora.base import GENERATED, Corpus, Records, digest_generator

Status = Literal["asserted", "negated", "family", "historical", "hypothetical"]


class _Symptom(NamedTuple):
    """The weight of a symptom, its spellings, and the clauses that accompany it."""

    weight: int
    words: tuple[str, ...]
    context: tuple[str, ...]


def _symptom(weight: int, words: str, context: str) -> _Symptom:
    return _Symptom(weight, tuple(words.split(", ")), tuple(context.split(", ")))


SYMPTOMS = {
    "pain": _symptom(
        30,
        "pain, pains, aching",
        "morphine ordered, scored by the nurse, radiation to the left arm checked, heating pad at the bedside, "
        "worst on movement, ibuprofen in the chart",
    ),
    "edema": _symptom(
        22,
        "edema, oedema",
        "both ankles examined, furosemide adjusted, salt restricted, weight taken daily, legs elevated, pitting graded",
    ),
    "cough": _symptom(
        20,
        "cough, coughing",
        "sputum sent, chest film reviewed, inhaler at the bedside, lungs auscultated, tobacco discussed, "
        "spirometry booked",
    ),
    "fever": _symptom(
        18,
        "fever, fevers, pyrexia",
        "blood cultures drawn, temperature charted, acetaminophen on the list, cooling blanket in reach, "
        "antibiotics reviewed, white count repeated",
    ),
    "bleeding": _symptom(
        16,
        "bleeding, hemorrhage",
        "hemoglobin repeated, heparin on the list, two units crossmatched, dressing inspected, platelets counted, "
        "endoscopy discussed",
    ),
    "nausea": _symptom(
        10,
        "nausea",
        "ondansetron on the list, clear liquids offered, appetite recorded, basin at the bedside, diet reviewed",
    ),
    "dizziness": _symptom(
        8,
        "dizziness, lightheadedness",
        "orthostatics taken, fall mat in place, gait observed, hearing checked, salt intake recorded",
    ),
}
"""The symptoms of the notes, most frequent first."""

FRAMES: dict[Status, tuple[str, ...]] = {
    "asserted": (
        "Patient reports {word} {time}",
        "Complains of {word} {time}",
        "Presents with {word} {time}",
        "The {word} was worse {time}",
        "Examined for {word} {time}",
        "There is {word} {time}",
    ),
    "negated": (
        "Patient denies {word} {time}",
        "No {word} {time}",
        "There is no evidence of {word} {time}",
        "Remains without {word} {time}",
        "Never had {word} {time}",
    ),
    "family": ("Her mother has {word} {time}", "Family history of {word} {time}", "His brother had {word} {time}"),
    "historical": (
        "History of {word} {time}",
        "Past medical history includes {word} {time}",
        "H/o {word} {time}",
    ),
    "hypothetical": (
        "Call the ward if {word} occurs {time}",
        "At risk of {word} {time}",
        "Watch for {word} {time}",
    ),
}
"""Sentences by the status of their symptom."""

_SHARES: dict[Status, int] = {"asserted": 55, "negated": 25, "family": 5, "historical": 8, "hypothetical": 7}
_TIMES = (
    "on day {n}, on hospital day {n}, in week {n}, in the night of day {n}, at visit {n}, on the morning of day {n}, "
    "during round {n}, around hour {n}"
).split(", ")
_NEUTRAL = ("chart reviewed", "family at the bedside", "plan discussed", "seen on rounds", "labs pending")
_FILLERS = ("Slept well.", "Vital signs stable.", "Diet as tolerated.", "Will follow.", "Discussed with the team.")


class SymptomStatement(NamedTuple):
    """A sentence about a symptom, without its full stop: the ground truth for tests."""

    symptom: str
    status: Status
    text: str


@final
class Complaints(Corpus):
    """Generated notes that mention symptoms, for trying `task=symptoms` without data. No file is read or written.

    A note has four to eight sentences, each about one of seven symptoms: asserted (55 %), negated, of the family,
    historical or hypothetical. In 80 % of the sentences the clause after it (a drug, a test, a finding) belongs to the
    symptom, else it is neutral or another symptom's, so a masked symptom can usually, but not always, be inferred.

    Labels are empty; `Symptoms` adds them. id = patient and note number; group = patient; no attributes.

    Args:
        root: unused; every corpus takes it.
        patients: number of patients, > 0; each has one to three notes.
        seed: patient i depends only on (seed, i), so more patients only add notes.

    Raises:
        ConfigError: `patients` is not positive.
    """

    def __init__(self, root: str | Path = "", patients: int = 400, seed: int = 0) -> None:
        if patients < 1:
            raise ConfigError(f"patients must be >= 1, got {patients}")
        self.patients, self.seed = patients, seed

    def records(self) -> Records:
        rows: list[tuple[Any, ...]] = []
        for patient in range(self.patients):
            rng = random.Random(f"{self.seed}-{patient}")
            for number in range(rng.randint(1, 3)):
                text = _note_text(statements(rng), rng)
                rows.append((f"c{patient}-{number}", f"c{patient}", text, [], {"none": None}))
        schema = {
            "id": pl.String(),
            "group": pl.String(),
            "text": pl.String(),
            "labels": pl.List(pl.String),
            "attributes": pl.Struct({"none": pl.String}),
        }
        return Records(pl.DataFrame(rows, schema=schema, orient="row"), (GENERATED,))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; it generates nothing."""
        return digest_generator([self.patients, self.seed], [f"{__name__}.Complaints"])


def statements(rng: random.Random) -> list[SymptomStatement]:
    """Draw the statements of a note."""
    names, weights = list(SYMPTOMS), [symptom.weight for symptom in SYMPTOMS.values()]
    found = []
    for name in rng.choices(names, weights, k=rng.randint(4, 8)):
        (status,) = rng.choices(list(_SHARES), list(_SHARES.values()))
        time = rng.choice(_TIMES).format(n=rng.randint(2, 30))
        clause = rng.choice(FRAMES[status]).format(word=rng.choice(SYMPTOMS[name].words), time=time)
        found.append(SymptomStatement(name, status, f"{clause}; {_context(name, rng)}"))
    return found


def _context(name: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.8:
        return rng.choice(SYMPTOMS[name].context)
    return rng.choice(_NEUTRAL if chance < 0.9 else SYMPTOMS[rng.choice(list(SYMPTOMS))].context)


def _note_text(sentences: list[SymptomStatement], rng: random.Random) -> str:
    lines = [f"{sentence.text}." for sentence in sentences] + rng.sample(_FILLERS, 2)
    rng.shuffle(lines)
    return f"PROGRESS NOTE:\n{' '.join(lines)}"
