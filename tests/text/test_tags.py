"""Spans become tags and come back as they were, widened to words and no further."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd_texts import texts

from clinlm.terminology.spans import Span, flatten
from clinlm.text.tags import Tags
from clinlm.text.words import words

LABELS = ("MEDICATION", "DISEASE", "SYMPTOM")
TAGS = Tags.of(LABELS)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text with spans of any edges, no two of which share a character; many stand side by side."""
    text = draw(texts.filter(bool))
    edges = sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=12)))
    pairs = [pair for pair in zip(edges, edges[1:], strict=False) if pair[0] < pair[1]]
    kept = [pair for pair in pairs if draw(st.booleans())]
    return text, flatten(Span(*pair, draw(st.sampled_from(LABELS))) for pair in kept)


@st.composite
def on_words(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text with spans whose edges are edges of words."""
    text = draw(texts)
    found = words(text).tolist()
    edges = sorted(draw(st.sets(st.integers(0, len(found)), max_size=12)))
    pairs = [pair for pair in zip(edges, edges[1:], strict=False) if draw(st.booleans())]
    return text, [Span(found[a][0], found[b - 1][1], draw(st.sampled_from(LABELS))) for a, b in pairs]


def slow(spans: list[Span], found: list[list[int]]) -> list[str]:
    """Ask every word for the first span that holds a character of it and is not at its end there."""
    owners = [next((span for span in spans if span.start < end and start < span.end), None) for start, end in found]
    before = [None, *owners][:-1]
    return [
        "O" if own is None else f"{'I' if own == last else 'B'}-{own.label}"
        for own, last in zip(owners, before, strict=True)
    ]


def conlleval(names: list[str], found: list[list[int]]) -> list[Span]:
    """Read tags one by one, as conlleval does."""
    spans: list[Span] = []
    last = "O"
    for name, (start, end) in zip(names, found, strict=True):
        kind, _, label = name.partition("-")
        if kind == "I" and last.partition("-")[2] == label:
            spans[-1] = spans[-1]._replace(end=end)
        elif kind != "O":
            spans.append(Span(start, end, label))
        last = name
    return spans


@settings(max_examples=60)
@given(on_words())
def test_spans_on_words_come_back_as_they_were(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    found = words(text)
    assert TAGS.decode(TAGS.encode(spans, found), found) == spans == TAGS.widened(spans, found)


@settings(max_examples=60)
@given(labelled())
def test_any_spans_come_back_widened(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    found = words(text)
    wide = TAGS.widened(spans, found)
    assert TAGS.decode(TAGS.encode(spans, found), found) == wide
    assert TAGS.widened(wide, found) == wide == flatten(wide) and len(wide) <= len(spans)
    held = [{place for span in some for place in range(span.start, span.end)} for some in (spans, wide)]
    assert {place for place in held[0] if not text[place].isspace()} <= held[1]
    assert all(span.start in found[:, 0] and span.end in found[:, 1] for span in wide)


@settings(max_examples=60)
@given(labelled())
def test_tags_are_those_of_a_slow_search(case: tuple[str, list[Span]]) -> None:
    text, spans = case
    found = words(text)
    assert [TAGS.names[tag] for tag in TAGS.encode(spans, found)] == slow(spans, found.tolist())


@settings(max_examples=60)
@given(texts, st.data())
def test_any_tags_are_read_as_conlleval_reads_them(text: str, data: st.DataObject) -> None:
    found = words(text)
    tags = data.draw(st.lists(st.integers(0, 6), min_size=len(found), max_size=len(found)))
    said = TAGS.decode(np.array(tags, np.int64), found)
    assert said == conlleval([TAGS.names[tag] for tag in tags], found.tolist())
    assert TAGS.decode(TAGS.encode(said, found), found) == said


def test_names_and_edges_by_hand() -> None:
    text = "no anti-TNF  therapy"
    found = words(text)  # no anti - TNF therapy
    tags = Tags.of(["A", "B"])
    assert tags.names == ("O", "B-A", "I-A", "B-B", "I-B")
    inside = [Span(5, 6, "A"), Span(6, 9, "A"), Span(9, 10, "B"), Span(11, 12, "B"), Span(12, 14, "B")]
    assert tags.encode(inside, found).tolist() == [0, 1, 1, 2, 3]
    assert tags.widened(inside, found) == [Span(3, 7, "A"), Span(7, 11, "A"), Span(13, 20, "B")]
    assert tags.decode(np.array([2, 4, 4, 3, 4]), found) == [Span(0, 2, "A"), Span(3, 8, "B"), Span(8, 20, "B")]
    assert tags.encode([], found).tolist() == [0] * 5 and tags.decode(np.zeros(0, np.int64), found[:0]) == []


def test_misfits_are_refused() -> None:
    found = words("one two")
    with pytest.raises(ValueError, match="must be unique"):
        Tags.of(["A", "A"])
    with pytest.raises(ValueError, match="some do"):
        TAGS.encode([Span(0, 3, "DISEASE"), Span(2, 7, "DISEASE")], found)
    with pytest.raises(ValueError, match="must be among"):
        TAGS.encode([Span(0, 3, "DRUG")], found)
    for tags in ([0, 7], [-1, 0]):
        with pytest.raises(ValueError, match="must have one tag < 7"):
            TAGS.decode(np.array(tags), found)
