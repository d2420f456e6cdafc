"""Sections are found by their headers at the starts of lines, and by nothing else."""

from clinlm.measure.sections import SECTIONS, sections


def test_every_way_of_writing_a_header_is_found() -> None:
    for name, ways in SECTIONS.items():
        for written in ways:
            for shown in (written.upper(), written.title(), f"  {written}"):
                assert sections([f"Seen today.\n{shown}: none"])[name].tolist() == [True], written


def test_no_header_has_two_names() -> None:
    ways = [written for ways in SECTIONS.values() for written in ways]
    assert len(ways) == len(set(ways))


def test_words_within_a_line_or_without_a_colon_are_no_headers() -> None:
    notes = ["The plan: rest.", "Plan is rest.", "Discharge planning: soon", "ALLERGIES\nnone", ""]
    assert not any(has.any() for has in sections(notes).values())


def test_documents_are_told_apart() -> None:
    found = sections(["PLAN: rest", "HPI: cough\nPLAN: rest", "cough"])
    assert found["plan"].tolist() == [True, True, False]
    assert found["history of present illness"].tolist() == [False, True, False]
