"""Sections are found by their headers at the starts of lines, and by nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from clinlm.text.sections import SECTIONS, section_masks, split_sections


def test_every_way_of_writing_a_header_is_found() -> None:
    for name, ways in SECTIONS.items():
        for written in ways:
            for shown in (written.upper(), written.title(), f"  {written}"):
                assert section_masks([f"Seen today.\n{shown}: none"])[name].tolist() == [True], written


def test_no_header_has_two_names() -> None:
    ways = [written for ways in SECTIONS.values() for written in ways]
    assert len(ways) == len(set(ways))


def test_words_within_a_line_or_without_a_colon_are_no_headers() -> None:
    notes = ["The plan: rest.", "Plan is rest.", "Discharge planning: soon", "ALLERGIES\nnone", ""]
    assert not any(has.any() for has in section_masks(notes).values())


def test_documents_are_told_apart() -> None:
    found = section_masks(["PLAN: rest", "HPI: cough\nPLAN: rest", "cough"])
    assert found["plan"].tolist() == [True, True, False]
    assert found["history of present illness"].tolist() == [False, True, False]


@given(st.text(st.sampled_from("xX:\n \tPLAN"), max_size=60))
def test_parts_are_the_note(text: str) -> None:
    found = split_sections(text)
    assert "".join(found) == text and all(found)


def test_every_part_but_the_first_begins_with_a_header() -> None:
    note = "Seen today.\nPLAN: rest; exam: later\n  Findings : none\nCC:\nEXAM: well\n"
    assert split_sections(note) == [
        "Seen today.\n",
        "PLAN: rest; exam: later\n",
        "  Findings : none\n",
        "CC:\n",
        "EXAM: well\n",
    ]
