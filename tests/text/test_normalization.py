"""Laws of the steps of normalisation: pure, idempotent, and none takes a mask away."""

import inspect
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.terminology.lexicon import MASK
from clinlm.text import normalization

STEPS = [
    step
    for name, step in inspect.getmembers(normalization, inspect.isfunction)
    if not name.startswith("_") and step.__module__ == normalization.__name__
]
PIECES = [
    *("A", "b", "Σ", "İ", " ", "\n", ":", ".", "/", "-", "4", "12", "2101", "[**", "**]", "*", MASK, "'", ",", "T"),
    *("10:15", "PM", "2101-03-04", "3/4/01", "Mar 4, 2101", "PLAN:", "Past Medical History:", "[**Name 3**]"),
]
texts = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


def test_the_steps_are_found() -> None:
    assert {step.__name__ for step in STEPS} == {"lower_case", "punctuation", "headers", "time_stamps", "deidentified"}


@pytest.mark.parametrize("step", STEPS)
@given(text=texts)
def test_a_second_run_changes_nothing(step: Callable[[str], str], text: str) -> None:
    assert step(step(text)) == step(text)


@pytest.mark.parametrize("step", STEPS)
@given(text=texts)
def test_masks_stay(step: Callable[[str], str], text: str) -> None:
    assert step(text).count(MASK) == text.count(MASK)


@given(texts)
def test_no_mark_is_left(text: str) -> None:
    assert not re.search(r"[!-/:-@\[-`{-~]", normalization.punctuation(text))


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("lower_case", "Denies FEVER", "denies fever"),
        ("punctuation", "B.P. 110/60, afebrile!", "B P  110 60  afebrile "),
        ("headers", "PLAN: rest\nPast Medical History: gout\nShe said: no", " rest\n gout\nShe said: no"),
        ("headers", "HISTORY OF PRESENT ILLNESS:\ncough", "\ncough"),
        ("headers", f"{MASK}: worse\nPAIN: 8/10", f"{MASK}: worse\n 8/10"),
        ("time_stamps", "Seen 2101-03-04 10:15 PM, BP 110/60, 9:05", "Seen    , BP 110/60,  "),
        ("time_stamps", "on 3/4/2101 and Mar 4, 2101, in 2-3 days, 98.6", "on   and  , in 2-3 days, 98.6"),
        ("time_stamps", "2101-03-04T10:15:00 ok", "  ok"),
        ("deidentified", "Dr. [**Last Name (un) 12**] saw [**2101-3-4**].", "Dr.   saw  ."),
    ],
)
def test_what_goes(step: str, before: str, after: str) -> None:
    assert getattr(normalization, step)(before) == after
