"""Laws of the sections of a discharge summary that are known at admission."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clinlm.corpora.mimic.admission_notes import HEADERS, admission_note, summary_sections

PIECES = (
    *(f"{header}:" for header in HEADERS.values()),
    *("Allergies:", "ALLERGIES: ", "past medical history:", "allergieſ:", "\n", "\n\n", "\n \n", "\\n", "\\N", "\\"),
    *("a", "1", ".", ":", "(", ")", "|", " ", "Service", "Discharge Diagnosis:", "Brief Hospital Course:", "\r", "\t"),
)
NOTES = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def plain(text: str, header: str) -> str:
    """A section by the one regex of the published definition."""
    match = re.search(rf"(?i){header}:(.+?)\\n\\n[^(\\|\d|\.)]+?:", text.replace("\n", "\\n"))
    return match.group(1).replace("\\n", " ").strip() if match else ""


@given(NOTES)
@example("allergies:\n\nb:")
@example("allergies:a\n\n1:\n\nallergies:b\n\nc:")
def test_published_sections_are_those_of_one_regex_each(text: str) -> None:
    assert summary_sections(text, "published") == {name: plain(text, header) for name, header in HEADERS.items()}


def test_long_notes_take_no_long_time() -> None:
    headers = "allergies: " * 20_000  # a lazy regex would read to the end for each of them
    assert summary_sections(headers + "\n\n" * 20_000, "published")["ALLERGIES"] == ""


@given(NOTES, st.sampled_from(["Discharge Diagnosis:", "  Brief Hospital Course:", "Discharge physical exam: x"]))
def test_strict_sections_hold_nothing_of_the_stay(text: str, header: str) -> None:
    for found in summary_sections(f"{text}\n{header}\nSECRET", "strict").values():
        assert "SECRET" not in found and "\n" not in found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Chief Complaint:\npain\n\nService: MED", "pain"),
        ("CHIEF COMPLAINT: pain\n\nService:", "pain"),
        ("No chief complaint: none known\n\nService:", "none known"),
        ("Chief Complaint:\npain\n \nService: MED", ""),
        (
            "Chief Complaint:\npain\n\nLabs (late): 1\n\n2. x: 1\n\nv1.0: 2\n\nService:",
            "pain  Labs (late): 1  2. x: 1  v1.0: 2",
        ),
        ("Chief Complaint:\n\nAllergies:\nnone\n\nService:", "Allergies: none"),
        ("Chief Complaint:\npain", ""),
        ("Chief Complaint:\n[] a\n\nService:", "[] a"),
        ("Chief Complaint: a\\nb\\n\\nService:", "a b"),
        ("Chief Complaint: a\\N\\NService:", "a"),
        ("Chief Complaint:a\n\nService:\n\nChief Complaint:b\n\nService:", "a"),
        ("Chief Complaint\npain\n\nService:", ""),
    ],
)
def test_published_oddities(text: str, found: str) -> None:
    assert summary_sections(text, "published")["CHIEF COMPLAINT"] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Chief Complaint:\npain\n\nService: MED", "pain"),
        ("Chief Complaint:\npain", "pain"),
        ("Chief Complaint:\npain\n \nService: MED", "pain"),
        ("Chief Complaint:\npain\n\nLabs (late): 1", "pain"),
        ("Chief Complaint:\npain\nat 10:30\n\nOn arrival at 10:30 worse", "pain at 10:30  On arrival at 10:30 worse"),
        ("Chief Complaint:\n\nAllergies:\nnone", ""),
        ("Chief Complaint:\npain\nHEENT: clear\nBrief Hospital Course: died", "pain HEENT: clear"),
        ("Chief Complaint:\npain\nAllergies: none", "pain"),
        ("No chief complaint: none known", "none known"),
        ("Discharge chief complaint: none", ""),
        ("Chief Complaint: a\n\nChief Complaint: b", "a"),
    ],
)
def test_strict_sections_end_at_header_lines(text: str, found: str) -> None:
    assert summary_sections(text, "strict")["CHIEF COMPLAINT"] == found


def test_a_note_is_rebuilt_in_the_published_order() -> None:
    text = "Social History:\nalone\n\nPast Medical History:\ngout\n\nEnd:"
    note = (
        "CHIEF COMPLAINT: \n\nPRESENT ILLNESS: \n\nMEDICAL HISTORY: gout\n\nMEDICATION ON ADMISSION: \n\n"
        "ALLERGIES: \n\nPHYSICAL EXAM: \n\nFAMILY HISTORY: \n\nSOCIAL HISTORY: alone"
    )
    assert admission_note(text, "published") == note
    assert admission_note(text, "strict") == note


def test_a_note_without_a_main_section_is_none() -> None:
    assert admission_note("Allergies:\nnone\n\nEnd:", "published") is None
    assert admission_note("", "strict") is None
