"""Laws of the summaries with admission sections: MIMIC's layout, and outcomes that the sections tell."""

import random
import re
from collections import Counter
from datetime import date, timedelta
from functools import cache

import numpy as np

from clinlm.corpora.synthetic.lexicon import SyntheticLexicon
from clinlm.corpora.synthetic.outcome_course import Presentation, StayOutcome, SyntheticCourses
from clinlm.corpora.synthetic.outcome_lexicon import SyntheticOutcomeLexicon
from clinlm.corpora.synthetic.outcome_notes import ADMISSION_HEADERS, OutcomeNote, SyntheticOutcomeNotes

LEXICON, OUTCOMES = SyntheticLexicon.load(), SyntheticOutcomeLexicon.load()
ASSERTED = [
    re.compile(
        re.escape(frame)
        .replace(r"\{gap\}", f"(?:{'|'.join(LEXICON.gaps['brief'])})")
        .replace(r"\{list\}", "(?P<list>.+)")
    )
    for frame in LEXICON.frames["asserted"]
]
FINDINGS = {each.code: each.surfaces for each in LEXICON.conditions} | {s.name: s.surfaces for s in OUTCOMES.signs}


@cache
def stays() -> tuple[tuple[Presentation, StayOutcome, OutcomeNote], ...]:
    courses, notes, made = SyntheticCourses(), SyntheticOutcomeNotes(), []
    for patient in range(600):
        rng = random.Random(patient)
        conditions = rng.sample(LEXICON.conditions, rng.randint(2, 5))
        shown = courses.present(rng, "72 yo M", 72, "cough", date(2101, 3, 4), conditions)
        course = courses.follow(rng, shown)
        discharged = date(2101, 3, 4) + timedelta(days=round(course.days))
        made.append((shown, course, notes.write(rng, shown, course, discharged)))
    return tuple(made)


def section(text: str, header: str) -> str | None:
    """The published definition's section, on one line, and None where there is none."""
    found = re.search(rf"(?i){header}:(.+?)\n\n[^(\n|\d|.)]+?:", text, re.DOTALL)
    return " ".join(found[1].split()) if found else None


def asserted(text: str) -> set[str]:
    """Conditions and signs as a careful reader of the admission sections finds them, without the writer's trace."""
    found = set()
    for header in ("History of Present Illness", "Past Medical History"):
        for clause in (section(text, header) or "").rstrip(".").split(". "):
            for match in filter(None, (pattern.fullmatch(clause) for pattern in ASSERTED)):
                names = set(re.split(", | and ", match["list"]))
                found |= {key for key, surfaces in FINDINGS.items() if names & set(surfaces)}
    return found


def test_the_lexicon_tells_its_findings_apart() -> None:
    surfaces = [surface for own in FINDINGS.values() for surface in own]
    assert len(set(surfaces)) == len(surfaces) and all(len(own) >= 2 for own in FINDINGS.values())
    assert len(FINDINGS) == len(LEXICON.conditions) + len(OUTCOMES.signs)
    codes = {condition.code for condition in LEXICON.conditions}
    assert (
        all(set(sign.conditions) <= codes for sign in OUTCOMES.signs)
        and set(OUTCOMES.procedures_of_conditions) <= codes
    )
    sources = [s.procedures for s in OUTCOMES.signs] + [*OUTCOMES.procedures_of_conditions.values()]
    chances = [(code, p) for source in (*sources, OUTCOMES.procedures_of_anyone) for code, p in source.items()]
    assert {code for code, _ in chances} == set(OUTCOMES.procedure_names) and all(0 < p < 1 for _, p in chances)
    assert sum(code.startswith("0") for code in OUTCOMES.procedure_names) >= 3


def test_a_careful_reader_finds_exactly_what_is_true_on_admission() -> None:
    """Where the sections are there: a few are left out, or stand in capitals."""
    read = 0
    for shown, _, note in stays():
        told = {key for each in note.sentences if each.family == "asserted" for key in each.about}
        true = {each.code for each in shown.early} | {each.name for each in shown.signs}
        assert told <= true
        if "History of Present Illness:" in note.text and "Past Medical History:" in note.text:
            assert asserted(note.text) == told == true
            read += 1
    assert read > 0.8 * len(stays())


def test_sections_stand_in_mimics_layout() -> None:
    present = Counter[str]()
    for _, _, note in stays():
        places = [note.text.lower().find(f"\n\n{header.lower()}:\n") for header in ADMISSION_HEADERS]
        present.update(header for header, place in zip(ADMISSION_HEADERS, places, strict=True) if place >= 0)
        assert [p for p in places if p >= 0] == sorted(p for p in places if p >= 0)
        assert not re.search(r"\n\n[^\n]*[\d(.)][^\n:]*:\n", note.text), "a header has no digit, dot or bracket"
        assert all(len(line) <= 76 for line in note.text.split("\n"))
        for header in ADMISSION_HEADERS:
            content = section(note.text, header)
            assert content is None or "Discharge" not in content
    total = len(stays())
    assert all(0.93 * total < present[header] < total for header in ADMISSION_HEADERS)
    assert 0.02 < sum("CHIEF COMPLAINT:" in note.text for _, _, note in stays()) / total < 0.1
    assert any("Physical Examination:" in note.text for _, _, note in stays())


def test_what_is_only_known_later_stands_behind_the_admission_sections() -> None:
    told = []
    for shown, course, note in stays():
        early = " ".join(section(note.text, header) or "" for header in ADMISSION_HEADERS)
        said = {key for each in note.sentences if each.family == "asserted" for key in each.about}
        assert not said & {each.code for each in shown.late}
        assert not [code for code in course.procedures if OUTCOMES.procedure_names[code] in early]
        told += ["patient expired" in early] if course.died else []
    assert len(told) > 30 and sum(told) < 0.2 * len(told), "of the death, admission sections tell rarely"


def test_half_of_the_mentions_are_of_what_is_not_so() -> None:
    families = Counter(each.family for _, _, note in stays() for each in note.sentences for _ in each.about)
    assert 0.4 < families["asserted"] / families.total() < 0.65
    assert all(families[family] > 0.03 * families.total() for family in ("negated", "family", "resolved", "hedged"))


def test_outcomes_follow_from_what_shows() -> None:
    acuity = np.array([shown.acuity for shown, _, _ in stays()])
    died = np.array([course.died for _, course, _ in stays()])
    assert acuity[died].mean() > acuity[~died].mean() + 0.8
    stretched = np.array([sum(sign.days for sign in shown.signs) for shown, _, _ in stays()])
    days = np.array([course.days for _, course, _ in stays()])
    assert 0.45 < np.corrcoef(stretched[~died], np.log(days[~died]))[0, 1] < 0.9
    for sign in OUTCOMES.signs:
        for code in sign.procedures:
            done: dict[bool, list[bool]] = {True: [], False: []}
            for shown, course, _ in stays():
                done[sign in shown.signs].append(code in course.procedures)
            assert np.mean(done[True]) > 2 * np.mean(done[False]), (sign.name, code)


def test_admission_sections_are_short() -> None:
    words = [
        sum(len(re.findall(r"\w+|[^\w\s]", section(note.text, header) or "")) for header in ADMISSION_HEADERS)
        for _, _, note in stays()
    ]
    assert 60 < np.mean(words) < 110 and np.percentile(words, 95) < 140
