"""Grounding of answers in the note, pieces of long notes, prompt and answer, back-off and shared time."""

import json
import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.labelers.llm_chunks import Chunking
from clinlm.labelers.llm_grounding import Grounding
from clinlm.labelers.llm_prompt import (
    DEFINITIONS,
    FORMS,
    Entity,
    MalformedAnswerError,
    RequestTemplate,
    answer_schema,
    estimate_usage,
    parse_entities,
)
from clinlm.labelers.llm_retry import RetryPolicy
from clinlm.labelers.llm_scheduler import TimeShares
from clinlm.terminology.spans import Span
from clinlm.text.words import words

ODD = st.text(st.sampled_from("aAbßİıµμée\u0301ﬁ½ \n\u00a0\u00ad\u200b-–’'.1٣漢\U0001f48a"), max_size=25)


def at(note: str, text: str) -> list[str]:
    """What stands in the note where the text is found."""
    return [note[start:end] for start, end in Grounding(note).find(text, 0, len(note))]


@pytest.mark.parametrize(
    ("note", "text", "wanted"),
    [
        ("Pain, no pain.", "pain", ["pain"]),  # exact comes first
        ("Pain, no pain.", "PAIN", ["Pain", "pain"]),
        ("painful", "pain", []),
        ("5mg aspirin81", "aspirin", ["aspirin"]),
        ("chest\n   pain", "chest pain", ["chest\n   pain"]),
        ("chest pain", " chest  pain ", ["chest pain"]),
        ("x\u00a0y", "x y", ["x\u00a0y"]),
        ("STRASSE", "straße", ["STRASSE"]),
        ("Me\u0301niere", "Ménière".replace("è", "e"), ["Me\u0301niere"]),
        ("cafe\u0301", "cafe", []),
        ("5 µg", "5 μg", ["5 µg"]),
        ("Crohn’s", "Crohn's", ["Crohn’s"]),
        ("COVID–19", "COVID-19", ["COVID–19"]),
        ("as\u00adpirin", "aspirin", ["as\u00adpirin"]),
        ("½", "1", []),
        ("ﬁbrosis", "fibrosis", ["ﬁbrosis"]),
        ("İstanbul flu", "flu", ["flu"]),
        ("ab ab ab", "ab ab", ["ab ab"]),
        ("漢字", "漢", ["漢"]),
        ("a+b", "+", ["+"]),
        ("any", "  \n", []),
        ("any", "\u00ad", []),
    ],
)
def test_where_a_text_stands(note: str, text: str, wanted: list[str]) -> None:
    assert at(note, text) == wanted


@given(ODD, st.integers(0, 25), st.integers(0, 25))
def test_every_run_of_words_of_a_note_is_found_in_it_whatever_its_case(note: str, first: int, last: int) -> None:
    ends = words(note)
    if not len(ends):
        return
    low, high = sorted((first % len(ends), last % len(ends)))
    start, end = int(ends[low, 0]), int(ends[high, 1])
    text = note[start:end]
    places = Grounding(note).find(text, 0, len(note))
    assert any(a <= start < b or a < end <= b for a, b in places) or not text.strip()
    folded = unicodedata.normalize("NFC", text)
    assert Grounding(note).find(folded, 0, len(note)) or not any(map(str.isalnum, text))


@given(ODD, ODD, st.integers(0, 25), st.integers(0, 25))
def test_places_are_whole_words_in_their_piece_and_do_not_overlap(note: str, text: str, one: int, other: int) -> None:
    low, high = sorted((min(one, len(note)), min(other, len(note))))
    places = Grounding(note).find(text, low, high)
    starts, ends = set(words(note)[:, 0].tolist()), set(words(note)[:, 1].tolist())
    assert all(low <= start < high and start in starts and end in ends for start, end in places)
    assert all(first[1] <= second[0] for first, second in pairwise(places))


def test_an_entity_marks_all_places_or_the_one_it_numbers() -> None:
    note = "pain. Pain? pain"
    named = [
        Entity("pain", "SYMPTOM"),
        Entity("pain", "symptom ", 2),
        Entity("pain", "X"),
        Entity("pain", "SYMPTOM", 3),
    ]
    all_of_them, second, foreign, none = (Grounding(note).verify([one], ["SYMPTOM"], 0, len(note)) for one in named)
    assert all_of_them.spans == {Span(0, 4, "SYMPTOM"), Span(12, 16, "SYMPTOM")}
    assert second.spans == {Span(12, 16, "SYMPTOM")}
    assert (foreign.spans, foreign.foreign, foreign.invented) == (set(), 1, 0)
    assert (none.spans, none.foreign, none.invented) == (set(), 0, 1)


@given(st.text(st.sampled_from("ab .!\n"), max_size=400), st.integers(2, 60), st.data())
def test_pieces_cover_the_note_and_are_no_longer_than_said(text: str, longest: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, (longest - 1) // 2))
    found = Chunking(longest, overlap).split(text)
    assert found[0][0] == 0 and found[-1][1] == len(text)
    assert all(end - start <= longest for start, end in found)
    for (start, end), (later, further) in pairwise(found):
        assert start < later <= end < further or (later <= end <= further and end == len(text))
        assert end - later <= overlap


def test_pieces_are_cut_at_ends_of_sentences_and_inside_words_only_where_there_is_nothing_else() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven. " * 5
    for start, end in Chunking(80, 20).split(text)[:-1]:
        assert text[start:end].rstrip().endswith(".") and text[start].isupper()
    words_only = "word " * 60
    assert all(not words_only[start:end].strip().startswith("ord") for start, end in Chunking(83, 11).split(words_only))
    assert [end - start for start, end in Chunking(40, 0).split("x" * 100)] == [40, 40, 20]


@settings(max_examples=25)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["entities", "text", "label", "occurrence"]), x),
    )
)
def test_any_json_is_read_or_malformed_and_the_error_repeats_nothing(told: object) -> None:
    text = json.dumps(told)
    try:
        assert all(isinstance(one, Entity) for one in parse_entities(text))
    except MalformedAnswerError as error:
        assert text not in str(error) or len(text) < 6


OWN = '{"entities": [{"text": "a", "label": "X"}]}'
OTHER = '{"entities": []}'


@pytest.mark.parametrize(
    "answer",
    [
        f"Sure, here it is {{as asked}}:\n{OWN}\nAnything else?",
        f"```json\n{OWN}",
        f"```\n{OWN}\n```\nDone.",
        f"<think>perhaps {OTHER}</think>{OWN}",
        f"perhaps {OTHER}</think>\n{OWN}",
        f"<THINKING>\n{OTHER}\n</THINKING>\n<reasoning>{OTHER}</reasoning>{OWN} <think>or {OTHER}",
        f"{OWN}\n\nAgain: {OWN}",
        f'{{"note": 1}} {OWN}',
    ],
)
def test_json_is_found_among_prose_fences_and_reasoning(answer: str) -> None:
    assert parse_entities(answer) == [Entity("a", "X", None)]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (f"{OWN} or {OTHER}", "several lists"),
        (f"<think>{OWN}", "not JSON"),
        (f"{OWN[:-2]}", "not JSON|without a list"),
        ("{" * 5000 + '{"a":' * 5000, "not JSON"),
    ],
)
def test_what_is_not_certain_is_malformed(answer: str, told: str) -> None:
    with pytest.raises(MalformedAnswerError, match=told):
        parse_entities(answer)


@pytest.mark.parametrize("mentions", FORMS)
def test_what_the_prompt_shows_is_what_the_schema_asks_for(mentions: str) -> None:
    form = RequestTemplate("m", DEFINITIONS, mentions=mentions, answer_format="json_schema")  # type: ignore[arg-type]
    shown = FORMS[mentions].partition("\n")[0]  # type: ignore[index]
    item = answer_schema(list(DEFINITIONS), mentions)["properties"]["entities"]["items"]  # type: ignore[arg-type]
    assert set(json.loads(shown)["entities"][0]) == set(item["properties"]) == set(item["required"])
    content = form.request("the {definitions} of {text}", 0)["messages"][0]["content"]
    assert "the {definitions} of {text}" in content and shown in content  # a note is no template
    assert not re.search(r"\{(form)\}", content) and content.count("MEDICATION: ") == 1


def test_the_worst_case_is_no_less_than_any_estimate() -> None:
    form = RequestTemplate("m", DEFINITIONS, max_completion_tokens=7)
    body = form.request("Ünïcode 漢字 " * 9, 0)
    assert form.worst_usage(body).prompt_tokens > 4 * (estimate_usage(body, None).prompt_tokens - 1)
    assert form.worst_usage(body).completion_tokens == 7


def test_waiting_doubles_up_to_its_limit_and_never_undercuts_the_server() -> None:
    patience = RetryPolicy(wait_s=1.0, max_wait_s=10.0)
    for failed, most in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (2000, 10.0)):
        pauses = [patience.pause_s(failed, 0.0) for _ in range(20)]
        assert most / 2 <= min(pauses) < max(pauses) <= most
    assert min(patience.pause_s(1, 5.0) for _ in range(20)) >= 5.0


def test_shared_time_is_shared_out() -> None:
    now = 0.0
    clock = TimeShares(lambda: now)
    with clock.running() as first:
        now = 2.0
        with clock.running() as second:
            now = 6.0
            assert (first(), second()) == (4.0, 2.0)
        now = 7.0
        assert first() == 5.0
    now = 100.0
    with clock.running() as third:
        now = 101.0
        assert third() == 1.0
