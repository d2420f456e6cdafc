"""Laws of sentences and of assertion, on sentences labelled by hand."""

import csv
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.corpora.synthetic.complaints import SYMPTOMS, SymptomStatement, statements
from clinlm.terminology.mentions import Finder
from clinlm.text.forms import read_form
from clinlm.text.negation import ConText
from clinlm.text.negation_triggers import TRIGGERS
from clinlm.text.sentences import Sentence, sentences

LISTED = Path(__file__).parents[1] / "data" / "assertions.csv"
FORMS = LISTED.with_name("assertion_forms.csv")
"""Notes, and the symptoms that they assert."""
FLOOR = 0.95
"""Ours had .942 with the triggers as first drafted (.898 on the odd sentences), .975 in the end; keywords have .425."""


@pytest.fixture(scope="module")
def assertion() -> ConText:
    return ConText()


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with LISTED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def held(assertion: ConText, text: str, words: list[str], section: str = "") -> list[set[str]]:
    return [set(some) for some in assertion.modifiers(Sentence(section, text), Finder({"it": words}).find(text))]


def test_the_list_is_fair(rows: list[dict[str, str]]) -> None:
    statuses = Counter(row["status"] for row in rows)
    assert set(statuses) == {"asserted", *TRIGGERS}
    assert len({row["sentence"] for row in rows}) >= 80
    assert min(statuses.values()) >= 8 and 0.35 <= statuses["asserted"] / len(rows) <= 0.65
    assert all(Finder({"it": [row["symptom"]]}).find(row["sentence"]) for row in rows)


def test_assertion_beats_the_keyword(assertion: ConText, rows: list[dict[str, str]]) -> None:
    truth = [row["status"] == "asserted" for row in rows]
    found = [not all(held(assertion, row["sentence"], [row["symptom"]])) for row in rows]
    right = sum(a == b for a, b in zip(truth, found, strict=True)) / len(rows)
    assert right >= FLOOR > sum(truth) / len(rows) + 0.3


def test_the_modifier_is_the_right_one(assertion: ConText, rows: list[dict[str, str]]) -> None:
    denied = [row for row in rows if row["status"] != "asserted"]
    right = [
        any(row["status"] in some for some in held(assertion, row["sentence"], [row["symptom"]])) for row in denied
    ]
    assert sum(right) / len(right) >= FLOOR


def test_invented_complaints_are_read_as_they_were_meant(assertion: ConText) -> None:
    rng = random.Random(0)
    said: list[SymptomStatement] = [statement for _ in range(60) for statement in statements(rng)]
    right = [
        all(not some for some in held(assertion, one.text, list(SYMPTOMS[one.symptom].words)))
        == (one.status == "asserted")
        for one in said
    ]
    assert sum(right) / len(right) >= FLOOR


def test_the_section_says_whose_and_when(assertion: ConText) -> None:
    text = "Cough and fever."
    assert held(assertion, text, ["cough", "fever"], "FAMILY HISTORY") == [{"family"}] * 2
    assert held(assertion, text, ["cough", "fever"], "PAST MEDICAL HISTORY") == [{"historical"}] * 2
    assert held(assertion, text, ["cough", "fever"], "HISTORY OF PRESENT ILLNESS") == [set()] * 2


def test_a_sentence_knows_nothing_of_the_one_before(assertion: ConText) -> None:
    alone = held(assertion, "Reports cough.", ["cough"])
    assert held(assertion, "Denies cough.", ["cough"]) == [{"negated"}]
    assert held(assertion, "Reports cough.", ["cough"]) == alone == [set()]


@pytest.mark.parametrize("lists", TRIGGERS.values(), ids=TRIGGERS)
def test_a_trigger_is_no_pseudo_trigger_and_stands_once(lists: Mapping[str, list[str]]) -> None:
    assert all(len(some) == len(set(some)) and all(some) for some in lists.values())
    assert not set(lists["pseudo_negations"]) & {w for name, some in lists.items() if name[0] != "p" for w in some}
    assert not set(lists["pseudo_negations"]) & set(lists["preceding_negations"])


def test_lines_headers_and_marks_end_sentences() -> None:
    note = (
        "CHIEF COMPLAINT:  Cough.  Two weeks.\n\nPast Medical History:\n1. Gout\n2. Asthma\nPLAN: Seen by Dr. Who "
        "p.o. and then the line was broken here by a\nmachine, not by its writer. Next.\nshort line\nown line"
    )
    (found,) = sentences([note])
    assert found == [
        Sentence("CHIEF COMPLAINT", "CHIEF COMPLAINT: Cough."),
        Sentence("CHIEF COMPLAINT", "Two weeks."),
        Sentence("Past Medical History", "Past Medical History:"),
        Sentence("Past Medical History", "Gout"),
        Sentence("Past Medical History", "Asthma"),
        Sentence(
            "PLAN",
            "PLAN: Seen by Dr. Who p.o. and then the line was broken here by a machine, not by its writer.",
        ),
        Sentence("PLAN", "Next."),
        Sentence("PLAN", "short line"),
        Sentence("PLAN", "own line"),
    ]


def test_sentences_hold_all_words_of_the_note_but_bullets() -> None:
    notes = [
        "",
        " \n",
        "one",
        "Fever 38.5 C. 4 x 4.\r\nNo cough.\n- pain\n2) nausea. 3. gout",
        "A" * 70 + "\nb. c",
        "8/10",
    ]
    bullets = {"-", "2)", "3."}
    for note, found in zip(notes, sentences(notes), strict=True):
        kept = [word for word in note.split() if word not in bullets]
        assert " ".join(sentence.text for sentence in found).split() == kept


def _form_cases() -> list[tuple[str, str]]:
    with FORMS.open(encoding="utf-8", newline="") as file:
        return [(row["note"], row["asserted"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("note", "asserted"), _form_cases(), ids=lambda value: repr(value)[:40])
def test_forms_and_short_lines_are_read_as_meant(assertion: ConText, note: str, asserted: str) -> None:
    """`Fever: No`, `(-)`, signs, checkboxes, `1.No …`, `neg for … pos for …`, denials over short lines."""
    finder = Finder({name: [name, f"{name}s"] for name in ("fever", "pain", "cough", "edema", "chills")})
    found = set()
    for sentence in next(sentences([note])):
        mentions = finder.find(sentence.text)
        modifiers = assertion.modifiers(sentence, mentions)
        found |= {mention.symptom for mention, own in zip(mentions, modifiers, strict=True) if not own}
    assert found == set(asserted.split())


_PARTS = [
    "fever",
    "cough",
    "pain",
    "no",
    "No",
    ":",
    "-",
    "+",
    "(-)",
    "(+)",
    "?",
    ",",
    ";",
    ".",
    "or",
    "[ ]",
    "s/",
    "¬",
    "1.",
]


@given(parts=st.lists(st.sampled_from(_PARTS), max_size=12), gaps=st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_form_keeps_every_mention(parts: list[str], gaps: list[bool]) -> None:
    """Whatever is rewritten, each mention is found again at its new place, with its own words."""
    text = "".join(part + " " * gap for part, gap in zip(parts, gaps, strict=False))
    mentions = Finder({"it": ["fever", "cough", "pain"]}).find(text)
    form = read_form(text, mentions)
    assert len(form.statuses) == len(mentions)
    words = [text[mention.start : mention.end] for mention in mentions]
    assert [form.text[mention.start : mention.end] for mention in form.mentions] == words
