"""Laws of finding terms: examples, and a slow second way that tries every term at every word."""

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.terminology.base import Term
from clinlm.terminology.matcher import Matcher
from clinlm.terminology.spans import Span, check_spans, flatten
from clinlm.terminology.word_forms import fold_word


def found(text: str, *terms: str, stop: Sequence[str] = (), **settings: int) -> list[str]:
    """What stands where one of the terms is found."""
    matcher = Matcher([Term(term, "A") for term in terms], stop, **settings)
    return [text[start:end] for start, end, _ in matcher.spans(text)]


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [
        ("Chest pain, pains.", ["pain", "chest pain"], ["Chest pain", "pains"]),
        ("renal cell carcinoma", ["renal cell", "cell carcinoma"], ["renal cell"]),
        ("acute renal failure", ["acute renal failure of x", "acute", "renal failure"], ["acute", "renal failure"]),
        ("painful unpainted", ["pain"], []),
        ("light-headed, light\nheaded", ["light headed"], ["light-headed", "light\nheaded"]),
        ("light\n\nheaded light\n- headed light, headed", ["light headed"], []),
        ("Parkinson ' s disease", ["Parkinson disease"], ["Parkinson ' s disease"]),
        ("Parkinson disease", ["Parkinson's Diseases"], ["Parkinson disease"]),
        ("aspirin's use", ["aspirin"], ["aspirin"]),
        ("Crohn's, Crohn", ["Crohn's"], ["Crohn's"]),
        (
            "İ İ İ ileus \ufb01brosis me\u0301ne\u0301",
            ["ileus", "fibrosis", "mene"],
            ["ileus", "\ufb01brosis", "me\u0301ne\u0301"],
        ),
        ("(S)-ketamine and (ketamine)", ["(S)-ketamine", "ketamine"], ["(S)-ketamine", "ketamine"]),
        ("iron (II) oxide; calcium (Ca ) x", ["iron (II)", "calcium (Ca)"], ["iron (II)", "calcium (Ca )"]),
        ("NAD NAD+", ["NAD+"], []),
        ("n/v/d, N / V / D, n v d", ["n/v/d"], ["n/v/d", "N / V / D"]),
        ("cytomegalovirus colitis", ["cytomegalovirus  Colitis "], ["cytomegalovirus colitis"]),
    ],
)
def test_what_is_found(text: str, terms: list[str], expected: list[str]) -> None:
    assert found(text, *terms) == expected


@pytest.mark.parametrize(
    ("text", "terms", "stop", "expected"),
    [
        ("AIDS aids AID Aids", ["AIDS"], [], ["AIDS"]),
        ("two UTIs, UTI, uti", ["UTI"], [], ["UTIs", "UTI"]),
        ("all had ALL", ["ALL"], ["all"], ["ALL"]),
        ("ALL SYSTEMS, SEEN ALL", ["ALL"], ["all"], []),
        ("ALL SYSTEMS", ["ALL"], [], ["ALL"]),
        ("ALL", ["ALL"], ["ALL"], []),
        ("all ALL", ["all"], ["ALL"], ["all", "ALL"]),
        ("MS ms", ["MS", "ms"], [], ["MS"]),
        ("OPIATE opiate", ["OPIATE"], [], ["OPIATE", "opiate"]),
        ("his Diseases", ["disease", "his"], ["disease", "HIS"], ["his"]),
    ],
)
def test_case_and_stop_terms(text: str, terms: list[str], stop: list[str], expected: list[str]) -> None:
    assert found(text, *terms, stop=stop) == expected


def test_limits() -> None:
    assert found("ms all", "MS", "ALL", acronym=0) == ["all"]
    assert found("ms all", "MS", "ALL", acronym=0, shortest=2) == ["ms", "all"]
    with pytest.raises(ValueError, match="set 5 and 3"):
        Matcher([], shortest=0)


def test_the_first_of_two_terms_decides_the_label() -> None:
    matcher = Matcher([Term("fever", "B"), Term("Fevers", "A"), Term("FEVER", "C")], acronym=5)
    assert [span.label for span in matcher.spans("fever FEVER")] == ["B", "C"]
    assert len(matcher) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"w{number} pains" for number in range(50))
    whole = found(text, "pain", "w7 pain")
    monkeypatch.setattr("clinlm.terminology.matcher._REMEMBERED", 5)
    assert found(text, "pain", "w7 pain") == whole


def joins(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def read(text: str) -> list[tuple[int, int, int]]:
    """Start, end without a possessive, and end of every word, character by character."""
    words, place = [], 0
    while place < len(text):
        start = place
        if text[place].isalnum():
            while place < len(text) and (text[place].isalnum() or (joins(text[place]) and text[place] != "\u200b")):
                place += 1
            end = place
            rest = text[place : place + 4]
            for shape in ("'s", " 's", "' s", " ' s"):
                behind = text[place + len(shape) : place + len(shape) + 1]
                if rest.lower().startswith(shape) and not behind.isalnum():
                    place += len(shape)
                    break
            words.append((start, end, place))
        else:
            place += 1
    return words


def gaps(text: str, words: list[tuple[int, int, int]]) -> list[str]:
    """What counts of what is between words."""
    between = [text[one[2] : other[0]] for one, other in zip(words, words[1:], strict=False)]
    parted = [gap.count("\n") > 1 or "\n-" in gap.replace(" ", "") for gap in between]
    marks = ["".join(c for c in gap if not (c.isspace() or joins(c) or c in "-'")) for gap in between]
    return [None if part else mark for part, mark in zip(parted, marks, strict=True)]  # type: ignore[misc]


def matches(term: str, text: str, first: int, words: list[tuple[int, int, int]], stop: Sequence[str]) -> int | None:
    """Where a term that begins at a word of the text ends, if it stands there; acronyms have up to three letters."""
    own = read(term)
    there = words[first : first + len(own)]
    bare, written = [term[a:b] for a, b, _ in own], [text[a:b] for a, b, _ in there]
    if len(there) < len(own) or not own or list(map(fold_word, bare)) != list(map(fold_word, written)):
        return None
    between = gaps(text, there)
    if between != gaps(term, own):
        return None
    letters = [character for character in "".join(bare) if character.isalpha()]
    acronym = bool(letters) and "".join(bare).isupper() and len(letters) <= 3
    if sum(c - a for a, _, c in own) < (2 if acronym else 3):
        return None
    same = [fold_word(term[a:b]) for a, b, _ in own]
    stopping = [
        one
        for one in stop
        if [fold_word(one[a:b]) for a, b, _ in read(one)] == same and gaps(one, read(one)) == gaps(term, own)
    ]
    capital = [one for one in stopping if one.isupper() and sum(map(str.isalpha, one)) <= 3]
    if (acronym and any([one[a:b] for a, b, _ in read(one)] == bare for one in capital)) or (
        not acronym and len(capital) < len(stopping)
    ):
        return None
    if acronym and written != bare and written != [*bare[:-1], bare[-1] + "s"]:
        return None
    if acronym and len(capital) < len(stopping):
        beside = [text[a:c] for a, _, c in [*words[max(0, first - 1) : first], *words[first + len(own) :][:1]]]
        if any(len(one) > 1 and one.isupper() for one in beside):
            return None
    if own[-1][1] < own[-1][2]:
        return there[-1][2] if there[-1][1] < there[-1][2] else None
    return there[-1][1]


def slowly(terms: Sequence[Term], stop: Sequence[str], text: str) -> list[Span]:
    """Try every term at every word, and take the best."""
    words, spans, place = read(text), [], 0
    for first, (start, _, _) in enumerate(words):
        if start < place:
            continue
        choices = []
        for number, term in enumerate(terms):
            end = matches(term.text, text, first, words, stop)
            if end is not None:
                own = read(term.text)
                letters = "".join(term.text[a:b] for a, b, _ in own)
                exact = (letters.isupper() and sum(map(str.isalpha, letters)) <= 3) or own[-1][1] < own[-1][2]
                choices.append((-len(own), own[-1][1] == own[-1][2], not exact, number, end, term.label))
        if choices:
            count, *_, end, label = min(choices)
            place = words[first - count - 1][2]
            spans.append(Span(start, end, label))
    return spans


WORDS = [
    "pain",
    "Pains",
    "PAIN",
    "MS",
    "ms",
    "MSs",
    "ALL",
    "all",
    "Crohn",
    "Crohn's",
    "chest",
    "Me\u0301",
    "mé",
    "\ufb01ts",
]
GAPS = [" ", " ", " ", "-", "  ", "\n", "\n\n", "\n- ", ", ", "/", " ' s ", "'s ", "\u200b", "' "]


@st.composite
def written(draw: st.DrawFn, most: int) -> str:
    count = draw(st.integers(1, most))
    return "".join(draw(st.sampled_from(WORDS)) + draw(st.sampled_from(GAPS)) for _ in range(count))


@given(
    st.lists(st.builds(Term, written(3).map(str.strip), st.sampled_from("AB")), max_size=8),
    st.lists(st.sampled_from(["all", "ALL", "pain", "ms", "chest pain"]), max_size=2),
    written(12),
)
def test_a_slow_second_way_agrees(terms: list[Term], stop: list[str], text: str) -> None:
    usable = [term for term in terms if not term.text.endswith("\u200b")]
    assert Matcher(usable, stop, acronym=3, shortest=3).spans(text) == slowly(usable, stop, text)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6), st.data())
def test_spans_of_any_text_are_whole_words_of_it(texts: list[str], data: st.DataObject) -> None:
    joined = data.draw(st.sampled_from([" ", "-", ". ", ""])).join(texts)
    spans = Matcher([Term(text, "A") for text in texts], acronym=0, shortest=1).spans(joined)
    assert check_spans(spans, len(joined)) == spans == flatten(spans)
    for start, end, _ in spans:
        inside = joined[start:end]
        assert inside == inside.strip()
        assert not (joined[start].isalnum() and joined[start - 1 : start].isalnum())
        assert not (joined[end - 1].isalnum() and joined[end : end + 1].isalnum())


def test_a_term_alone_is_found_whole() -> None:
    for term in ("chest pain", "Ménière's disease", "5-fluorouracil", "n/v/d", "beta\u00adblocker", "İleus x"):
        assert found(term, term) == [term]
