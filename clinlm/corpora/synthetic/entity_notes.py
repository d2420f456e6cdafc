"""Generates notes with entities: sentences with slots, and the spans of the names that fill them."""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from clinlm.corpora.synthetic.lexicon import SyntheticLexicon
from clinlm.files.delimited import read_header, scan_delimited
from clinlm.terminology.spans import Span

NAMES_FILE = Path(__file__).with_name("entity_names.csv")
"""The names: a column per label, and a column `unseen_LABEL` for names reserved for test notes."""

SLOTS = {"m": "MEDICATION", "d": "DISEASE", "s": "SYMPTOM"}
"""Slot -> label of the name that fills it. {a} takes a name of any label, {o} a word that is no entity (OTHER)."""

SECTIONS: Mapping[str, Sequence[str]] = {
    "HPI": (
        "Presents with {s} and {s} for {n} days",
        "Reports {s}, {s} and {s} since day {n}",
        "Complains of {s} after {m} was started",
        "{s} improved on {m} {dose}",
        "Denies {s}, {s} or {s}",
        "No {s}, no {s}",
        "Negative for {s} and {s}",
        "{m}-induced {s} was considered",
        "{d}-related {s} on day {n}",
        "New {s}/{s} overnight",
        "Post-{d} {s} persists",
        "Work-up excluded {d}",
        "CT was read as {d}",
        "Possible {d} versus {d}",
        "[MS|MEDICATION] {n} mg IV was given for {s}",
        "Asked about {a}, {o} and {a}",
        "Notes of day {n} mention {a}, {a} and {o}",
        "{a} was in the referral, {o} was not",
        "Purulent [discharge|SYMPTOM] from the wound, treated with {m}",
    ),
    "PMH": (
        "Known {d} on {m} {dose}",
        "Remote history of {d}, treated with {m}",
        "{d}, {d} and {d}",
        "No history of {d} or {d}",
        "[MS|DISEASE] for {n} years, last relapse treated with {m}",
        "[Depression|DISEASE] in the past, never on {m}",
        "Allergic to {m}, which caused {s}",
    ),
    "FH": ("Mother had {d}", "Brother died of {d} and {d}", "No {d} in the family", "Father on {m} for {d}"),
    "MEDICATIONS": (
        "{m} {dose}",
        "{m} {dose} for {d}",
        "{m}/{m} {dose}",
        "{m}, {m} and {m} as before",
        "[potassium|MEDICATION] {n} mEq daily",
        "[iron|MEDICATION] {dose} with meals",
    ),
    "PLAN": (
        "Continue {m} for {d}",
        "Start {m} {dose}, stop {m}",
        "Watch for {s} on {m}",
        "Switch {m} to {m} because of {s}",
        "Give {m} if {s} or {s} returns",
        "Treat {d} with {m}",
        "Screen for {d}",
        "Discuss {o} and {a} at the next visit",
        "Questions about {a}, {o} and {o} answered",
        "Review {a} and {a} with the family",
    ),
}
"""Section -> sentences with entities: {m}, {d} and {s} draw a name, [name|LABEL] is a fixed name."""

TRAPS: Mapping[str, Sequence[str]] = {
    "HPI": (
        "ST depression in V{n}",
        "Came from the stroke unit",
        "Fever chart reviewed",
        "Shock wave session {n} was last week",
        "Potassium {x}, calcium {x} and vitamin D level {n}",
        "Pain clinic note of day {n} reviewed",
    ),
    "PMH": ("Iron studies were sent in the past", "Seen by the MS nurse and the RA clinic"),
    "PLAN": (
        "Discharge planned for day {n}",
        "Cold compress {n} times a day",
        "Cough assist device at the bedside",
        "Pain scale explained",
        "Repeat potassium and calcium tomorrow",
        "Saturation {n}% on RA, no oxygen needed",
        "PE: alert, comfortable",
    ),
}
"""Section -> sentences with words that are names in other contexts but not here."""

_SIZES = {"HPI": (3, 5), "PMH": (1, 3), "FH": (0, 1), "MEDICATIONS": (2, 4), "PLAN": (1, 3)}
_DOSES = ("mg daily", "mg twice daily", "mg PO", "mg IV", "µg daily", "units", "mg as needed", "mg at bedtime")
_FILLERS = ("history", "exam", "advice")
_MARK = re.compile(r"\{(\w+)\}|\[([^|\]]+)\|(\w+)\]")
_MISSPELLED, _CAPITALS, _TRAPPED, _FILLED = 0.02, 0.04, 0.5, 0.4
_WIDTH = 78


@cache
def names() -> Mapping[str, tuple[str, ...]]:
    """Return the columns of `NAMES_FILE`, read once per process."""
    table = scan_delimited(NAMES_FILE, read_header(NAMES_FILE)).collect()
    return {column.name: tuple(column.drop_nulls()) for column in table}


def write_entity_note(rng: random.Random, unseen: float) -> tuple[str, list[Span]]:
    """Write a note.

    Args:
        unseen: share of the names that do not occur in training notes, 0 to 1.

    Returns:
        the text, and the spans of its entities, ascending.
    """
    text, spans = "", []
    for section, (least, most) in _SIZES.items():
        sentences = [rng.choice(SECTIONS[section]) for _ in range(rng.randint(least, most))]
        sentences += [rng.choice(TRAPS[section])] if section in TRAPS and rng.random() < _TRAPPED else []
        if section == "HPI" and rng.random() < _FILLED:
            sentences.append(rng.choice(SyntheticLexicon.load().words[rng.choice(_FILLERS)]))
        rng.shuffle(sentences)
        text += f"{section}:" if sentences else ""
        for sentence in sentences:
            text += "\n" if section == "MEDICATIONS" else " "
            filled, found = _filled(rng, sentence, unseen)
            spans += [Span(span.start + len(text), span.end + len(text), span.label) for span in found]
            text += f"{filled[0].upper()}{filled[1:]}."
        text += "\n" if sentences else ""
    return _wrapped(text.rstrip("\n")), spans


def _filled(rng: random.Random, sentence: str, unseen: float) -> tuple[str, list[Span]]:
    """Return a sentence with its slots filled, and the spans of the names in it."""
    text, spans, done = "", [], 0
    for mark in _MARK.finditer(sentence):
        text += sentence[done : mark.start()]
        done = mark.end()
        slot, name, label = mark.groups()
        if slot is not None:
            label = SLOTS.get(rng.choice([*SLOTS]) if slot == "a" else slot)
            name = _value(rng, slot) if label is None and slot != "o" else _name(rng, label or "OTHER", unseen)
        if label:
            spans.append(Span(len(text), len(text) + len(name), label))
        text += name
    return text + sentence[done:], spans


def _name(rng: random.Random, label: str, unseen: float) -> str:
    """Draw a name, the first most often; rarely with two inner letters swapped, or in capitals."""
    known = names()[f"unseen_{label}" if rng.random() < unseen else label]
    (name,) = rng.choices(known, [1 / (10 + rank) for rank in range(len(known))])
    chance = rng.random()
    if chance < _MISSPELLED and len(name) > 6:
        at = rng.randrange(2, len(name) - 2)
        swapped = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
        return swapped if name[at : at + 2].isalpha() else name
    return name.upper() if chance > 1 - _CAPITALS else name


def _value(rng: random.Random, slot: str) -> str:
    if slot == "dose":
        return f"{rng.choice((1, 2.5, 5, 10, 20, 25, 40, 50, 81, 100, 250, 500))} {rng.choice(_DOSES)}"
    if slot == "x":
        return f"{rng.uniform(3, 10):.1f}"
    if slot in ("before", "during", "after"):
        return f"2101-{rng.randint(1, 12)}-{rng.randint(1, 28)}"
    return str(rng.randint(2, 99))


def _wrapped(text: str) -> str:
    """Wrap lines by replacing spaces with line ends, which keeps all offsets."""
    lines: list[str] = []
    for line in text.split("\n"):
        while len(line) > _WIDTH and " " in line[:_WIDTH]:
            at = line.rindex(" ", 0, _WIDTH)
            lines.append(line[:at])
            line = line[at + 1 :]
        lines.append(line)
    return "\n".join(lines)
