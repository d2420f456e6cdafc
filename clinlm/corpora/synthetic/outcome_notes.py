"""How a synthetic discharge summary with admission sections is written, in MIMIC's layout."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from textwrap import TextWrapper
from typing import final

from clinlm.corpora.synthetic.lexicon import Condition, Family, SyntheticLexicon
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
"""What is known at admission."""

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
"""Of a summary's sections, behind the dates; medications on admission stand behind the hospital course, as in MIMIC."""
_OMISSIBLE = ("Allergies", "Family History", "Social History", "Past Medical History", "Physical Exam")
_RIGHT_LOOK = 0.65
_CAPITALS = 0.05
_OMITTED, _EMPTIED, _RENAMED, _BARE = 0.03, 0.01, 0.03, 0.01
_TOLD = 0.05
"""Share of the summaries of patients who died whose admission sections say so."""
_LATER_WORD = "ourse"
"""Sentences with it read like the header of the hospital course where they begin a line."""
_WRAPPER = TextWrapper(76, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class NoteSentence:
    """A sentence under `header` about conditions (by code) and signs (by name), without its full stop."""

    family: Family
    header: str
    text: str
    about: tuple[str, ...]


@dataclass(frozen=True)
class OutcomeNote:
    """A written summary, and every sentence of its admission sections that is about a condition or a sign."""

    text: str
    told: tuple[NoteSentence, ...]


@final
class SyntheticOutcomeNotes:
    """Writes summaries whose admission sections assert what is true on admission, and deny as much that is not.

    Sentences are those of `SyntheticNotes`: frames of the families `asserted`, `negated`, `family`, `resolved` and
    `hedged` with conditions and signs in them, so a sign counts iff a sentence asserts it. How the patient looks on
    examination goes with acuity three times in four. Sections stand in MIMIC's order, each with a header, a blank line
    behind it; what is only known later (results, hospital course, procedures, diagnoses) has its own sections.

    In small shares: headers in capitals, a section missing, empty or under another header, summaries without any
    history, and admission sections that tell of the death.
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
            rng: the source of every choice.
            shown: what is known at admission.
            course: what became of it.
            discharged: not before admission.
        """
        told = [*self._assert(rng, shown), *self._deny(rng, shown)]
        rng.shuffle(told)
        early = self._early(rng, shown, told)
        if course.died and rng.random() < _TOLD:
            early[rng.choice(("Physical Exam", "History of Present Illness"))] += " Later the patient expired."
        early = {} if rng.random() < _BARE else self._odd(rng, early)
        write = str.upper if rng.random() < _CAPITALS else str
        blocks = [f"{write(header)}:{text}" for header, text in self._parts(rng, shown, course, discharged, early)]
        return OutcomeNote("\n\n".join(blocks) + "\n", tuple(each for each in told if early.get(each.header)))

    def newborn(self, rng: random.Random, born: date) -> str:
        """Write the summary of a newborn, in the capitals of its ward."""
        grams, week = rng.randint(1900, 4300), rng.randint(35, 41)
        return (
            f"HISTORY: Baby born on [**{_plain(born)}**] at {week} weeks, {grams} grams.\n\n"
            "PHYSICAL EXAMINATION: Pink, active, soft fontanelle.\n\n"
            f"HOSPITAL COURSE BY SYSTEMS: {rng.choice(('Fed well', 'Received phototherapy'))}.\n\n"
            "CONDITION AT DISCHARGE: Good.\n"
        )

    def addendum(self, rng: random.Random, discharged: date) -> str:
        """Write an addendum; now and then it repeats a header."""
        after = _plain(discharged + timedelta(days=rng.randint(2, 30)))
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
        names = [rng.choice(each.surfaces) for each in findings]
        listed = names[0] if len(names) == 1 else ", ".join(names[:-1]) + rng.choice((" and ", ", ")) + names[-1]
        text = rng.choice(self._frames[family]).format(gap=rng.choice(self.lexicon.gaps["brief"]), list=listed)
        about = tuple(each.code if isinstance(each, Condition) else each.name for each in findings)
        return NoteSentence(family, rng.choice(_PLACES[family]), text, about)

    def _early(self, rng: random.Random, shown: Presentation, told: Sequence[NoteSentence]) -> dict[str, str]:
        """The admission sections by header; all of them have a text."""
        body: dict[str, list[str]] = {header: [] for header in ADMISSION_HEADERS}
        for each in told:
            body[each.header].append(each.text)
        level = shown.level if rng.random() < _RIGHT_LOOK else rng.randrange(len(self.outcomes.looks))
        pulse, systolic = round(rng.gauss(84 + 7 * level, 9)), round(rng.gauss(126 - 10 * level, 12))
        body["Allergies"] = [rng.choice(self.lexicon.words["allergies"])]
        body["Chief Complaint"] = [shown.complaint]
        body["History of Present Illness"].insert(0, f"{shown.person} with {shown.complaint}")
        body["Past Medical History"] = body["Past Medical History"] or ["As above"]
        body["Social History"] = [each.text for each in shown.habits]
        body["Family History"] = body["Family History"] or [rng.choice(self.outcomes.words["kin"])]
        body["Physical Exam"] = [f"HR {pulse} BP {systolic}", f"General: {rng.choice(self.outcomes.looks[level])}"]
        body["Medications on Admission"] = [", ".join(each.text for each in shown.drugs)]
        return {header: " ".join(f"{text}." for text in texts) for header, texts in body.items()}

    @staticmethod
    def _odd(rng: random.Random, early: dict[str, str]) -> dict[str, str]:
        """The sections that are there; one may be missing, empty or under another header."""
        found = {header: text for header, text in early.items() if header not in _OMISSIBLE or rng.random() > _OMITTED}
        if rng.random() < _EMPTIED:
            found["Allergies"] = ""
        if "Physical Exam" in found and rng.random() < _RENAMED:
            found["Physical Examination"] = found.pop("Physical Exam")
        return found

    def _parts(
        self, rng: random.Random, shown: Presentation, course: StayOutcome, discharged: date, early: dict[str, str]
    ) -> list[tuple[str, str]]:
        """All sections in MIMIC's order: header, and text from the colon on."""
        words, outcomes = self.outcomes.words, self.outcomes
        named = ", ".join(outcomes.procedure_names[code] for code in course.procedures) or "None"
        hospital = [rng.choice(words["stays"]), *(f"Developed {rng.choice(each.surfaces)}" for each in shown.late)]
        hospital += [f"Underwent {named}"] if course.procedures else []
        hospital += [rng.choice(words["deaths"])] if course.died else []
        diagnoses = ", ".join(rng.choice(each.surfaces) for each in (*shown.early, *shown.late)) or "As above"
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
            ("Admission Date", f"  [**{_plain(shown.admitted)}**]"),
            ("Discharge Date", f"  [**{_plain(discharged)}**]"),
            ("Service", " MEDICINE"),
            *((header, f"\n{_WRAPPER.fill(texts[header])}") for header in _ORDER if header in texts),
        ]


def _plain(day: date) -> str:
    """A date as it stands between the brackets of a de-identified span: "2101-3-4"."""
    return f"{day.year}-{day.month}-{day.day}"
