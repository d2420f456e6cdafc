"""Laws of the words: surfaces tell conditions apart, and no neighbour of a condition tells families apart."""

import re
from itertools import permutations

import pytest

from clinlm.corpora.synthetic.lexicon import SyntheticLexicon

LEXICON = SyntheticLexicon.load()
NOT_ASSERTED = ("negated", "family", "resolved", "hedged")
CONNECTOR = re.compile(r"\{gap\}:?( \w+)? \{list\}$")
FRAMES = [(family, frame) for family, frames in LEXICON.frames.items() for frame in frames]


def test_forty_conditions_with_distinct_codes_and_two_or_more_surfaces() -> None:
    assert len({condition.code for condition in LEXICON.conditions}) == len(LEXICON.conditions) == 40
    assert all(len(condition.surfaces) >= 2 for condition in LEXICON.conditions)
    weights = [condition.weight for condition in LEXICON.conditions]
    assert weights == sorted(weights, reverse=True) and weights[0] > 8 * weights[-1] > 0
    assert all(condition.severity in range(4) for condition in LEXICON.conditions)


def test_no_surface_of_one_condition_occurs_in_a_surface_of_another() -> None:
    for one, other in permutations(LEXICON.conditions, 2):
        for surface in one.surfaces:
            assert not any(_occurs(surface, text) for text in other.surfaces), surface


def test_enough_frames_on_both_sides() -> None:
    assert set(LEXICON.frames) == {"asserted", *NOT_ASSERTED}
    assert len(LEXICON.frames["asserted"]) >= 12
    assert sum(len(LEXICON.frames[family]) for family in NOT_ASSERTED) >= 12
    assert len(set(FRAMES)) == len(FRAMES)


@pytest.mark.parametrize(("family", "frame"), FRAMES)
def test_a_gap_stands_between_cue_and_conditions(family: str, frame: str) -> None:
    assert frame.count("{gap}") == frame.count("{list}") == 1
    assert frame.startswith("{list} {gap}: ") or CONNECTOR.search(frame)
    assert all(2 <= len(gap.split()) <= 6 for gaps in LEXICON.gaps.values() for gap in gaps)


def test_words_next_to_a_condition_occur_on_both_sides() -> None:
    def connectors(*families: str) -> set[str]:
        frames = [frame for family in families for frame in LEXICON.frames[family]]
        return {found.group(1) or "" for frame in frames if (found := CONNECTOR.search(frame))}

    assert connectors("asserted") == connectors(*NOT_ASSERTED)


def test_neutral_words_mention_no_condition() -> None:
    surfaces = [surface for condition in LEXICON.conditions for surface in condition.surfaces]
    for text in [text for texts in (*LEXICON.words.values(), *LEXICON.gaps.values()) for text in texts]:
        assert not any(_occurs(surface, text) for surface in surfaces), text


def _occurs(surface: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(surface)}\b", text, re.IGNORECASE) is not None
