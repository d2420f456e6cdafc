"""Generates discharge summaries with admission sections, in MIMIC's layout."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import final

from clinlm.corpora.synthetic.lexicon import Condition, Family, SyntheticLexicon
from clinlm.corpora.synthetic.notes import WRAPPER, masked_date
from clinlm.corpora.synthetic.outcome_course import Presentation, StayOutcome
from clinlm.corpora.synthetic.outcome_lexicon import Sign, SyntheticOutcomeLexicon

ADMISSION_HEADERS = (
    "Allergies",
    "Chief Complaint",
    "History of Present Illness",
    "Past Medical History",
    "Social History",
    "Family History",
    "Physical Exam",
    "Medications on Admission",
)
"""Headers of the sections that are known at admission."""

_PLACES: dict[Family, tuple[str, ...]] = {
    "asserted": ("History of Present Illness", "History of Present Illness", "Past Medical History"),
    "negated": ("History of Present Illness", "History of Present Illness", "Past Medical History"),
    "hedged": ("History of Present Illness",),
    "resolved": ("Past Medical History",),
    "family": ("Family History",),
}
_ORDER = (
    "Allergies",
    "Chief Complaint",
    "Major Surgical or Invasive Procedure",
    "History of Present Illness",
    "Past Medical History",
    "Social History",
    "Family History",
    "Physical Exam",
    "Physical Examination",
    "Pertinent Results",
    "Brief Hospital Course",
    "Medications on Admission",
    "Discharge Disposition",
    "Discharge Diagnosis",
    "Discharge Condition",
    "Discharge Instructions",
)
"""Order of the sections after the dates; as in MIMIC, medications on admission follow the hospital course."""
_OMISSIBLE = ("Allergies", "Family History", "Social History", "Past Medical History", "Physical Exam")
_RIGHT_LOOK = 0.65
_CAPITALS = 0.05
_OMITTED, _EMPTIED, _RENAMED, _BARE = 0.03, 0.01, 0.03, 0.01
_LEAKED = 0.05
"""Share of the summaries of patients who died whose admission sections mention the death."""
_LATER_WORD = "ourse"
"""Excludes sentences that look like the header of the hospital course at the start of a line."""


@dataclass(frozen=True)
class NoteSentence:
    """A sentence under `header` about conditions (codes) and signs (names), without its full stop."""

    family: Family
    header: str
    text: str
    about: tuple[str, ...]


@dataclass(frozen=True)
class OutcomeNote:
    """A summary, and the sentences of its admission sections about conditions and signs."""

    text: str
    sentences: tuple[NoteSentence, ...]


@final
class SyntheticOutcomeNotes:
    """Generates summaries whose admission sections assert what is true, and mention about as much that is not.

    Sentences are those of `SyntheticNotes`: frames of the families `asserted`, `negated`, `family`, `resolved` and
    `hedged` with conditions and signs, so a sign is true iff a sentence asserts it. In three of four notes the
    appearance on examination matches the acuity. Sections are in MIMIC's order, separated by blank lines; later
    findings (results, hospital course, procedures, diagnoses) have sections of their own.

    A few summaries have headers in capitals, a section missing, empty or renamed, no history, or admission sections
    that mention the death.
    """

    def __init__(self) -> None:
        self.lexicon = SyntheticLexicon.load()
        self.outcomes = SyntheticOutcomeLexicon.load()
        self._frames = {
            family: tuple(frame for frame in frames if _LATER_WORD not in frame)
            for family, frames in self.lexicon.frames.items()
        }

    def write(self, rng: random.Random, shown: Presentation, course: StayOutcome, discharged: date) -> OutcomeNote:
        """Write the summary of one stay.

        Args:
            shown: what is known at admission.
            course: the outcomes of the stay.
            discharged: not before admission.
        """
        sentences = [*self._assert(rng, shown), *self._deny(rng, shown)]
        rng.shuffle(sentences)
        early = self._early(rng, shown, sentences)
        if course.died and rng.random() < _LEAKED:
            early[rng.choice(("Physical Exam", "History of Present Illness"))] += " Later the patient expired."
        early = {} if rng.random() < _BARE else self._odd(rng, early)
        write = str.upper if rng.random() < _CAPITALS else str
        blocks = [f"{write(header)}:{text}" for header, text in self._parts(rng, shown, course, discharged, early)]
        kept = tuple(sentence for sentence in sentences if early.get(sentence.header))
        return OutcomeNote("\n\n".join(blocks) + "\n", kept)

    def newborn(self, rng: random.Random, born: date) -> str:
        """Write the summary of a newborn, with headers in capitals."""
        grams, week = rng.randint(1900, 4300), rng.randint(35, 41)
        return (
            f"HISTORY: Baby born on [**{masked_date(born)}**] at {week} weeks, {grams} grams.\n\n"
            "PHYSICAL EXAMINATION: Pink, active, soft fontanelle.\n\n"
            f"HOSPITAL COURSE BY SYSTEMS: {rng.choice(('Fed well', 'Received phototherapy'))}.\n\n"
            "CONDITION AT DISCHARGE: Good.\n"
        )

    def addendum(self, rng: random.Random, discharged: date) -> str:
        """Write an addendum; some repeat a header."""
        after = masked_date(discharged + timedelta(days=rng.randint(2, 30)))
        text = f"Addendum:\nFollow up appointment moved to [**{after}**].\n"
        return text + ("\nAllergies:\nlatex\n\nDischarge Disposition:\nHome\n" if rng.random() < 0.2 else "")

    def _assert(self, rng: random.Random, shown: Presentation) -> Iterator[NoteSentence]:
        true: list[Condition | Sign] = [*shown.early, *shown.signs]
        rng.shuffle(true)
        while true:
            size = rng.choice((1, 2, 2, 3))
            yield self._state(rng, "asserted", true[:size])
            true = true[size:]

    def _deny(self, rng: random.Random, shown: Presentation) -> Iterator[NoteSentence]:
        families: list[Family] = ["negated", "family", "resolved", "hedged"]
        hands: dict[Family, list[Condition | Sign]] = {}
        for finding in shown.denied:
            hands.setdefault(rng.choices(families, (4, 1, 2, 2))[0], []).append(finding)
        for family, hand in hands.items():
            yield self._state(rng, family, hand)

    def _state(self, rng: random.Random, family: Family, findings: Sequence[Condition | Sign]) -> NoteSentence:
        names = [rng.choice(finding.surfaces) for finding in findings]
        listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + rng.choice((" and ", ", ")) + names[-1]
        text = rng.choice(self._frames[family]).format(gap=rng.choice(self.lexicon.gaps["brief"]), list=listed)
        about = tuple(finding.code if isinstance(finding, Condition) else finding.name for finding in findings)
        return NoteSentence(family, rng.choice(_PLACES[family]), text, about)

    def _early(self, rng: random.Random, shown: Presentation, sentences: Sequence[NoteSentence]) -> dict[str, str]:
        """Return header -> text of all admission sections; none is empty."""
        body: dict[str, list[str]] = {header: [] for header in ADMISSION_HEADERS}
        for sentence in sentences:
            body[sentence.header].append(sentence.text)
        level = shown.level if rng.random() < _RIGHT_LOOK else rng.randrange(len(self.outcomes.looks))
        pulse, systolic = round(rng.gauss(84 + 7 * level, 9)), round(rng.gauss(126 - 10 * level, 12))
        body["Allergies"] = [rng.choice(self.lexicon.words["allergies"])]
        body["Chief Complaint"] = [shown.complaint]
        body["History of Present Illness"].insert(0, f"{shown.person} with {shown.complaint}")
        body["Past Medical History"] = body["Past Medical History"] or ["As above"]
        body["Social History"] = [habit.text for habit in shown.habits]
        body["Family History"] = body["Family History"] or [rng.choice(self.outcomes.words["kin"])]
        body["Physical Exam"] = [f"HR {pulse} BP {systolic}", f"General: {rng.choice(self.outcomes.looks[level])}"]
        body["Medications on Admission"] = [", ".join(drug.text for drug in shown.drugs)]
        return {header: " ".join(f"{text}." for text in texts) for header, texts in body.items()}

    @staticmethod
    def _odd(rng: random.Random, early: dict[str, str]) -> dict[str, str]:
        """Return the sections, of which some may be missing, empty or renamed."""
        found = {header: text for header, text in early.items() if header not in _OMISSIBLE or rng.random() > _OMITTED}
        if rng.random() < _EMPTIED:
            found["Allergies"] = ""
        if "Physical Exam" in found and rng.random() < _RENAMED:
            found["Physical Examination"] = found.pop("Physical Exam")
        return found

    def _parts(
        self, rng: random.Random, shown: Presentation, course: StayOutcome, discharged: date, early: dict[str, str]
    ) -> list[tuple[str, str]]:
        """Return all sections in MIMIC's order: the header, and the text after the colon."""
        words, outcomes = self.outcomes.words, self.outcomes
        named = ", ".join(outcomes.procedure_names[code] for code in course.procedures) or "None"
        hospital = [rng.choice(words["stays"]), *(f"Developed {rng.choice(late.surfaces)}" for late in shown.late)]
        hospital += [f"Underwent {named}"] if course.procedures else []
        hospital += [rng.choice(words["deaths"])] if course.died else []
        conditions = (*shown.early, *shown.late)
        diagnoses = ", ".join(rng.choice(condition.surfaces) for condition in conditions) or "As above"
        end = ("Expired", "Expired", "None") if course.died else (rng.choice(("Home", "Extended Care")), "Stable", "")
        later = {
            "Major Surgical or Invasive Procedure": named,
            "Pertinent Results": f"WBC {rng.uniform(4, 18):.1f} HCT {rng.uniform(22, 44):.1f}",
            "Brief Hospital Course": " ".join(f"{text}." for text in hospital),
            "Discharge Disposition": end[0],
            "Discharge Diagnosis": diagnoses,
            "Discharge Condition": end[1],
            "Discharge Instructions": end[2] or f"{rng.choice(words['advice'])}.",
        }
        texts = early | later
        return [
            ("Admission Date", f"  [**{masked_date(shown.admitted)}**]"),
            ("Discharge Date", f"  [**{masked_date(discharged)}**]"),
            ("Service", " MEDICINE"),
            *((header, f"\n{WRAPPER.fill(texts[header])}") for header in _ORDER if header in texts),
        ]
