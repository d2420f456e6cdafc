"""Laws of every change of a note: the same again, only what it says, and nothing where there is nothing to change."""

import re

import numpy as np
import pytest

from clinlm.text.perturbations import ABBREVIATIONS, NEGATIONS, PERTURBATIONS, perturbed

NOTE = (
    "CHIEF COMPLAINT: Fever for three days.\n"
    "HISTORY: The patient denies cough. Seen by Dr. Miller on 2019-03-04, a 71 year old woman with chest pain, without "
    "edema. No rash. She reports bleeding and shortness of breath at home.\n"
    "PLAN: Follow-up with Mrs. Jones in March 2020, record 4711002.\n"
)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_change_is_the_same_again_and_of_one_document(name: str) -> None:
    once = perturbed(name, NOTE, 3, seed=5)
    assert once == perturbed(name, NOTE, 3, seed=5) != NOTE
    assert perturbed(name, "", 0, seed=0) == "" and perturbed(name, "1 2", 0, seed=0).casefold() in ("1 2", "1")


def test_only_random_changes_depend_on_seed_and_document() -> None:
    found = {
        name: len({perturbed(name, NOTE * 9, number, seed) for number in range(4) for seed in (0, 1)})
        for name in PERTURBATIONS
    }
    assert {name for name, count in found.items() if count > 1} == {"misspellings", "section loss"}


def test_a_tenth_of_the_longer_words_is_misspelt_by_a_letter() -> None:
    words = ["fever", "cough", "the", "of", "bleeding"] * 2000
    found = perturbed("misspellings", " ".join(words), 0, seed=0).split()
    assert len(found) == len(words)
    changed = [(a, b) for a, b in zip(words, found, strict=True) if a != b]
    assert all(len(a) >= 4 and abs(len(a) - len(b)) <= 1 and a[0] == b[0] for a, b in changed)
    assert 0.08 < len(changed) / 6000 < 0.11  # swapping equal letters changes nothing
    assert all(sorted(a) == sorted(b) for a, b in changed if len(a) == len(b))


def test_abbreviations_are_those_of_the_list() -> None:
    found = perturbed("abbreviations", NOTE, 0, seed=0)
    assert (
        "The pt denies cough" in found
        and "w/o edema" in found
        and "SOB at home" in found
        and "y/o woman w/ CP" in found
    )
    assert all(short.casefold() != written for written, short in ABBREVIATIONS.items())


def test_flips_are_of_both_directions_and_flip_back() -> None:
    found = perturbed("negation flips", NOTE, 0, seed=0)
    assert (
        "patient reports cough" in found
        and "with edema" in found
        and "Has rash" in found
        and "She denies bleeding" in found
    )
    for denied, asserted in NEGATIONS[:2]:
        assert perturbed("negation flips", f"He {denied} pain.", 0, 0) == f"He {asserted} pain."
        assert perturbed("negation flips", f"He {asserted} pain.", 0, 0) == f"He {denied} pain."
    assert perturbed("negation flips", "Fever with chills.", 0, 0) == "Fever with chills."


def test_a_section_is_lost_whole_and_a_half_is_cut_at_a_word() -> None:
    parts = NOTE.splitlines(keepends=True)
    assert {perturbed("section loss", NOTE, number, 0) for number in range(40)} == {
        "".join(part for part in parts if part != lost) for lost in parts
    }
    half = perturbed("truncation", NOTE, 0, 0)
    assert NOTE.startswith(f"{half} ") and len(NOTE) // 2 - 20 < len(half) <= len(NOTE) // 2


def test_marks_stand_for_what_identifies() -> None:
    found = perturbed("de-identification", NOTE, 0, seed=0)
    assert not re.search(r"Miller|Jones|2019|71|2020|4711002", found) and found.count("[**") == 6
    assert re.sub(r"\[\*\*\d+\*\*\]", "", found).count("fever") == NOTE.count("fever")


def test_what_keeps_labels_says_so() -> None:
    assert [name for name, own in PERTURBATIONS.items() if not own.keeps_labels] == ["negation flips"]
    assert all(own.about and np.all([word not in own.about for word in ("!", "?")]) for own in PERTURBATIONS.values())
