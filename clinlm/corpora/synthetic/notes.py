"""Generates discharge summaries with known diagnoses."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from textwrap import TextWrapper
from typing import Literal, final

from clinlm.config.errors import ConfigError
from clinlm.corpora.synthetic.lexicon import Condition, Family, SyntheticLexicon

Style = Literal["handoff", "brief", "full"]

SECTIONS = (
    "CHIEF COMPLAINT",
    "HISTORY OF PRESENT ILLNESS",
    "PAST MEDICAL HISTORY",
    "FAMILY HISTORY",
    "MEDICATIONS ON ADMISSION",
    "ALLERGIES",
    "PHYSICAL EXAM",
    "HOSPITAL COURSE",
    "DISCHARGE",
)
_ANYWHERE = ("HISTORY OF PRESENT ILLNESS", "PAST MEDICAL HISTORY", "HOSPITAL COURSE", "HOSPITAL COURSE")
_PLACES: dict[Family, tuple[str, ...]] = {
    "asserted": _ANYWHERE,
    "negated": _ANYWHERE,
    "hedged": _ANYWHERE,
    "copied": ("HISTORY OF PRESENT ILLNESS", "HOSPITAL COURSE"),
    "resolved": ("PAST MEDICAL HISTORY",),
    "family": ("FAMILY HISTORY",),
}
_DISTRACTORS: tuple[Family, ...] = ("negated", "family", "resolved", "hedged")
_TRUE: dict[Style, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "handoff": ((1, 2), (60, 40)),
    "brief": ((2, 3, 4, 5), (38, 36, 18, 8)),
    "full": ((2, 3, 4, 5), (38, 36, 18, 8)),
}
"""How many conditions a note asserts, and how often."""
_SIZES = {"handoff": (2, 2, 3), "brief": (4, 4, 5), "full": (4, 5, 6)}
"""Number of conditions that a note mentions without asserting them."""
_REPEATED = {"handoff": 0.04, "brief": 0.04, "full": 0.4}
_MISSPELLED = 0.02
_CONTRASTED = 0.25
_QUOTED = 0.8
WRAPPER = TextWrapper(76, break_long_words=False, break_on_hyphens=False)


@dataclass(frozen=True)
class HospitalStay:
    """A stay in hospital, as the input of a note.

    Attributes:
        person: introduction of the patient in the note, such as "72 yo M".
        complaint: the symptom that led to admission.
        clusters: the patient's clusters of conditions, mentioned four times as often as the others.
        admitted: shifted date, as in MIMIC-III.
        discharged: not before `admitted`.
    """

    person: str
    complaint: str
    clusters: Collection[str]
    admitted: date
    discharged: date


@dataclass(frozen=True)
class Statement:
    """A sentence about conditions, without its full stop."""

    family: Family
    text: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class SyntheticNote:
    """A note and its ground truth.

    Attributes:
        text: every section starts a line with "NAME:".
        labels: the diagnoses of the stay, most important first (SEQ_NUM).
        statements: the sentences that mention a condition, in no order.
        expired: whether the patient died in this stay.
    """

    text: str
    labels: tuple[Condition, ...]
    statements: tuple[Statement, ...]
    expired: bool

    @property
    def asserted(self) -> frozenset[str]:
        """The codes that the statements assert as active in this stay."""
        return frozenset(c.code for s in self.statements if s.family == "asserted" for c in s.conditions)


@final
class SyntheticNotes:
    """Generates discharge summaries in which a condition is a label iff a sentence asserts it.

    The mentioned conditions are drawn first (clustered, long-tailed); a random part of them is asserted, the rest goes
    to the distractor families. So labels cannot be inferred from which conditions are mentioned, how often, or together
    with which others; nor from the words next to a mention, which all families share, nor from the cue words alone, as
    nearly every note has cues of every family.

    Args:
        style: `handoff` for one paragraph of about 50 word pieces, `brief` for about 105, `full` for about 500.

    Raises:
        ConfigError: `style` is neither.
    """

    def __init__(self, style: Style) -> None:
        self.lexicon = SyntheticLexicon.load()
        if style not in self.lexicon.gaps:
            raise ConfigError(f"style must be one of {', '.join(self.lexicon.gaps)}, got {style!r}")
        self.style: Style = style

    def write(self, rng: random.Random, stay: HospitalStay, previous: SyntheticNote | None) -> SyntheticNote:
        """Write the note of a stay.

        Args:
            stay: patient and dates.
            previous: the note of the previous stay, to copy from; a copied diagnosis is not a label of this stay.
        """
        copied = self._quote(rng, previous)
        known = frozenset(c.code for c in previous.labels) if previous else frozenset()
        wanted = rng.choices(*_TRUE[self.style])[0]
        besides = rng.choice(_SIZES[self.style]) - len(copied)
        mentioned = self._mention(rng, wanted + besides, stay.clusters, known, copied)
        true, untrue = mentioned[:wanted], mentioned[wanted:]
        statements = [*copied, *self._assert(rng, true), *self._distract(rng, untrue)]
        others = [*untrue, *(condition for statement in copied for condition in statement.conditions)]
        statements += self._repeat(rng, true, others)
        rng.shuffle(statements)
        expired = rng.random() < 0.01 + 0.02 * sum(condition.severity for condition in true)
        text = self._lay_out(rng, stay, statements, expired)
        return SyntheticNote(text, tuple(true), tuple(statements), expired)

    def other_note(
        self, rng: random.Random, category: Literal["Nursing", "Radiology", "Addendum"], stay: HospitalStay
    ) -> str:
        """Write a short note of another category, which asserts no diagnosis."""
        words = self.lexicon.words
        if category == "Addendum":
            return "ADDENDUM:\n" + self._narrate(rng, rng.choice(words["addenda"]), stay) + "."
        if category == "Nursing":
            return f"NURSING NOTE:\n{stay.person}. {rng.choice(words['nursing'])}."
        denied = self._state(rng, "negated", [rng.choice(self.lexicon.conditions)])
        return f"{rng.choice(words['radiology'])}\nREASON: {stay.complaint}\nIMPRESSION: {denied.text}."

    def _mention(
        self,
        rng: random.Random,
        count: int,
        clusters: Collection[str],
        known: Collection[str],
        copied: Sequence[Statement],
    ) -> list[Condition]:
        """Draw `count` conditions by weight without replacement (exponential keys), shuffled."""
        taken = {condition.code for statement in copied for condition in statement.conditions}
        arrivals = []
        for condition in self.lexicon.conditions:
            if condition.code not in taken:
                weight = condition.weight * (4 if condition.cluster in clusters else 1)
                arrivals.append((rng.expovariate(weight * (2 if condition.code in known else 1)), condition))
        arrivals.sort(key=lambda arrival: arrival[0])
        drawn = [condition for _, condition in arrivals[:count]]
        rng.shuffle(drawn)
        return drawn

    @staticmethod
    def _quote(rng: random.Random, previous: SyntheticNote | None) -> list[Statement]:
        """Copy a sentence word for word from the previous note, marked as a copy; sometimes none."""
        if previous is None or rng.random() >= _QUOTED:
            return []
        options = [s for s in previous.statements if s.family == "asserted" and len(s.conditions) <= 2]
        if not options:
            return []
        source = rng.choice(options)
        return [Statement("copied", f'Per prior note: "{source.text}"', source.conditions)]

    def _assert(self, rng: random.Random, true: Sequence[Condition]) -> Iterator[Statement]:
        left = list(true)
        while left:
            size = rng.choice((1, 2, 2, 3))
            yield self._state(rng, "asserted", left[:size])
            left = left[size:]

    def _distract(self, rng: random.Random, untrue: Sequence[Condition]) -> Iterator[Statement]:
        """Give every family a condition while there are any, and the rest to random families, half to `negated`."""
        families = list(_DISTRACTORS)
        rng.shuffle(families)
        hands: dict[Family, list[Condition]] = {}
        for place, condition in enumerate(untrue):
            family = families[place] if place < len(families) else rng.choices(_DISTRACTORS, (3, 1, 1, 1))[0]
            hands.setdefault(family, []).append(condition)
        for family, hand in hands.items():
            yield self._state(rng, family, hand)

    def _repeat(
        self, rng: random.Random, true: Sequence[Condition], untrue: Sequence[Condition]
    ) -> Iterator[Statement]:
        """Mention conditions again, true ones as often as others."""
        for condition in true:
            if rng.random() < _REPEATED[self.style]:
                family: Family = rng.choices(("asserted", "family", "hedged"), (6, 2, 2))[0]
                yield self._state(rng, family, [condition])
        for condition in untrue:
            if rng.random() < _REPEATED[self.style]:
                yield self._state(rng, rng.choice(_DISTRACTORS), [condition])

    def _state(self, rng: random.Random, family: Family, conditions: Sequence[Condition]) -> Statement:
        frame = rng.choice(self.lexicon.frames[family])
        names = [self._name(rng, condition) for condition in conditions]
        listed = names[0]
        if len(names) > 1:
            listed = ", ".join(names[:-1]) + rng.choice((" and ", ", ")) + names[-1]
        gap = rng.choice(self.lexicon.gaps[self.style])
        return Statement(family, frame.format(gap=gap, list=listed), tuple(conditions))

    @staticmethod
    def _name(rng: random.Random, condition: Condition) -> str:
        """Draw a spelling, rarely with two inner letters swapped."""
        name = rng.choice(condition.surfaces)
        if rng.random() < _MISSPELLED and len(name) > 6:
            at = rng.randrange(2, len(name) - 2)
            name = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
        return name

    def _lay_out(self, rng: random.Random, stay: HospitalStay, statements: Sequence[Statement], expired: bool) -> str:
        """Assign the sentences to sections, and write the sections that are not empty, in their usual order.

        A handoff has no sections.
        """
        if self.style == "handoff":
            sentences = [f"{stay.person} with {stay.complaint}", *(statement.text for statement in statements)]
            return WRAPPER.fill(" ".join(f"{text}." for text in [*sentences, "Expired" if expired else "Stable"]))
        body: dict[str, list[str]] = {section: [] for section in SECTIONS}
        for statement in statements:
            section = rng.choice(_PLACES[statement.family])
            if body[section] and rng.random() < _CONTRASTED:
                text = statement.text
                text = text[0].lower() + text[1:] if text[1].islower() else text
                body[section][-1] += rng.choice(("; however, ", "; ", ", but ")) + text
            else:
                body[section].append(statement.text)
        body["CHIEF COMPLAINT"].append(f"{stay.person} with {stay.complaint}")
        body["DISCHARGE"].append("expired" if expired else "stable")
        if self.style == "brief":
            self._fill_briefly(rng, stay, body)
        else:
            self._fill_fully(rng, stay, body)
        lines = [
            WRAPPER.fill(f"{name}: " + " ".join(f"{text}." for text in body[name])) for name in SECTIONS if body[name]
        ]
        return "\n".join(lines)

    def _fill_briefly(self, rng: random.Random, stay: HospitalStay, body: dict[str, list[str]]) -> None:
        """Add a few words unrelated to the diagnoses, and a date where there is room."""
        words = self.lexicon.words
        if rng.random() < 0.2:
            body["MEDICATIONS ON ADMISSION"].append(rng.choice(words["drugs"]).split()[0])
        if rng.random() < 0.2:
            body["ALLERGIES"].append(rng.choice(words["allergies"]))
        if sum(len(text) for texts in body.values() for text in texts) < 300:
            body["DISCHARGE"].append(f"Seen [**{masked_date(stay.discharged)}**]")

    def _fill_fully(self, rng: random.Random, stay: HospitalStay, body: dict[str, list[str]]) -> None:
        """Add the narrative of a real summary between the statements; it mentions no condition."""
        words = self.lexicon.words
        dates = (
            f"Admission Date: [**{masked_date(stay.admitted)}**] Discharge Date: [**{masked_date(stay.discharged)}**]"
        )
        body["CHIEF COMPLAINT"].append(dates)
        body["MEDICATIONS ON ADMISSION"].append(", ".join(rng.sample(words["drugs"], 4)))
        body["ALLERGIES"].append(rng.choice(words["allergies"]))
        for section, name, count in (
            ("HISTORY OF PRESENT ILLNESS", "history", 3),
            ("PHYSICAL EXAM", "exam", 5),
            ("HOSPITAL COURSE", "course", 5),
            ("DISCHARGE", "advice", 3),
        ):
            for sentence in rng.sample(words[name], count):
                body[section].insert(rng.randint(0, len(body[section])), self._narrate(rng, sentence, stay))

    @staticmethod
    def _narrate(rng: random.Random, sentence: str, stay: HospitalStay) -> str:
        """Fill the slots of a neutral sentence."""
        return sentence.format(
            days=rng.randint(2, 9),
            number=rng.randint(1, 9999),
            before=masked_date(stay.admitted - timedelta(days=rng.randint(9, 90))),
            during=masked_date(stay.admitted + timedelta(days=rng.randint(0, (stay.discharged - stay.admitted).days))),
            after=masked_date(stay.discharged + timedelta(days=rng.randint(1, 30))),
            temperature=f"{rng.uniform(96.5, 100.5):.1f}",
            pulse=rng.randint(55, 115),
            systolic=rng.randint(95, 165),
            diastolic=rng.randint(50, 95),
            breaths=rng.randint(12, 24),
            saturation=rng.randint(92, 100),
        )


def masked_date(day: date) -> str:
    """Return a date as written between the brackets of a de-identified span: "2101-3-4"."""
    return f"{day.year}-{day.month}-{day.day}"
