"""Laws of combinations: over every one that conf/labeler names, and of each its own."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any, get_args

import hypothesis
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class, instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from support.marking import Marker

from clinlm.config.resolvers import register_resolvers, subsets
from clinlm.config.validation import CONF
from clinlm.labelers.base import LabeledNote, Note
from clinlm.labelers.combination import Combination
from clinlm.labelers.human import Human
from clinlm.labelers.intersection import Intersection
from clinlm.labelers.majority import Majority
from clinlm.labelers.priority import Priority
from clinlm.labelers.union import Union
from clinlm.labelers.votes import Match, Vote
from clinlm.terminology.spans import Span, flatten

LENGTH = 12
Spans = list[Span]


def combinations() -> list[tuple[str, dict[str, str]]]:
    """Every combination of conf/labeler with every way to match."""
    found = []
    for path in sorted(CONF.glob("labeler/*.yaml")):
        settings = OmegaConf.load(path)
        built = get_class(str(settings._target_))
        if issubclass(built, Combination):
            ways: list[dict[str, str]] = [{"match": match} for match in get_args(Match)]
            ways = ways if issubclass(built, Vote) else [{}]
            found += [(str(settings._target_), way) for way in ways]
    return found


EVERY = pytest.mark.parametrize(("target", "way"), combinations(), ids=str)
SYMMETRIC = pytest.mark.parametrize(
    ("target", "way"), [one for one in combinations() if "priority" not in one[0]], ids=str
)


def of(target: str, way: dict[str, str], count: int) -> Combination:
    """A combination of labelers, which are never asked here."""
    built: Combination = get_class(target)({f"l{n}": Marker([]) for n in range(count)}, **way)
    return built


def merged(target: str, way: dict[str, str], each: Sequence[Spans | None]) -> Spans | None:
    return of(target, way, len(each)).merge(each)


def answered(target: str, way: dict[str, str], each: Sequence[Spans]) -> Spans:
    found = merged(target, way, each)
    assert found is not None, "nobody failed"
    return found


def touch(one: Span, other: Span) -> bool:
    return bool(set(range(one.start, one.end)) & set(range(other.start, other.end)))


def placed(drawn: tuple[int, int, str]) -> Span:
    start, length, label = drawn
    return Span(start, min(start + length, LENGTH), label)


def answers() -> st.SearchStrategy[Spans]:
    """The flat spans of one labeler."""
    span = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, LENGTH), st.sampled_from("XY")).map(placed)
    return st.lists(span, max_size=4).map(flatten)


FEW = hypothesis.settings(max_examples=20, deadline=None)
several = st.lists(answers(), min_size=1, max_size=5)


def test_all_four_are_in_conf() -> None:
    classes = {target.rpartition(".")[2] for target, _ in combinations()}
    assert classes == {"Union", "Intersection", "Majority", "Priority"}


@EVERY
@FEW
@given(each=several)
def test_spans_are_flat_and_given_by_somebody(target: str, way: dict[str, str], each: list[Spans]) -> None:
    found = answered(target, way, each)
    assert found == flatten(found)
    assert set(found) <= {span for spans in each for span in spans}


@EVERY
@FEW
@given(spans=answers(), count=st.integers(1, 5))
def test_equal_labelers_count_as_one(target: str, way: dict[str, str], spans: Spans, count: int) -> None:
    assert answered(target, way, [spans] * count) == spans


@SYMMETRIC
@FEW
@given(each=st.lists(answers(), min_size=2, max_size=3))
def test_the_order_does_not_matter(target: str, way: dict[str, str], each: list[Spans]) -> None:
    assert len({tuple(answered(target, way, some)) for some in permutations(each)}) == 1


@EVERY
@FEW
@given(each=several, data=st.data())
def test_an_answer_stands_whatever_the_failed_would_have_said(
    target: str, way: dict[str, str], each: list[Spans], data: st.DataObject
) -> None:
    lost = data.draw(st.sets(st.integers(0, len(each) - 1), min_size=1))
    found = merged(target, way, [None if n in lost else spans for n, spans in enumerate(each)])
    if found is not None:
        assert found == answered(target, way, each)
    if len(lost) == len(each):
        assert found is None


@FEW
@given(each=several)
def test_union_leaves_out_only_what_overlaps(each: list[Spans]) -> None:
    found = answered("clinlm.labelers.union.Union", {}, each)
    assert all(any(touch(span, kept) for kept in found) for spans in each for span in spans)


@FEW
@given(each=several, further=answers())
def test_intersection_shrinks_with_labelers_and_grows_with_spans(each: list[Spans], further: Spans) -> None:
    target = "clinlm.labelers.intersection.Intersection"
    found = answered(target, {}, each)
    assert set(answered(target, {}, [*each, further])) <= set(found)
    assert set(found) == set.intersection(*map(set, each)), "a second way of computing it"
    more = flatten([*each[0], *further])
    if set(more) >= set(each[0]):
        assert set(found) <= set(answered(target, {}, [more, *each[1:]]))


@FEW
@given(each=several)
def test_majority_lies_between(each: list[Spans]) -> None:
    majority = set(answered("clinlm.labelers.majority.Majority", {}, each))
    assert set(answered("clinlm.labelers.intersection.Intersection", {}, each)) <= majority
    every = {span for spans in each for span in spans}
    assert majority == {span for span in every if sum(span in spans for spans in each) > len(each) / 2}


@pytest.mark.parametrize(("target", "share"), [("intersection.Intersection", 1.0), ("majority.Majority", 0.5)])
@FEW
@given(each=several)
def test_relaxed_votes_are_those_that_touch(target: str, share: float, each: list[Spans]) -> None:
    """A second, slower way: pairs of characters."""
    chosen = []
    for span in {span for spans in each for span in spans}:
        votes = sum(any(touch(span, one) and one.label == span.label for one in spans) for spans in each)
        if votes > share * len(each) or votes == len(each):
            chosen.append(span)
    assert answered(f"clinlm.labelers.{target}", {"match": "relaxed"}, each) == flatten(chosen)


@FEW
@given(each=several)
def test_priority_leaves_out_only_what_an_earlier_labeler_touches(each: list[Spans]) -> None:
    found = answered("clinlm.labelers.priority.Priority", {}, each)
    assert set(each[0]) <= set(found)
    for n, spans in enumerate(each):
        earlier = [one for before in each[:n] for one in before if one in found]
        assert all((span in found) != any(touch(span, one) for one in earlier if one != span) for span in spans)


X, Y = Span(0, 4, "X"), Span(2, 4, "Y")


@pytest.mark.parametrize(
    ("built", "each", "found"),
    [
        (Union, [[X], [Y], None], None),
        (Priority, [[X], None], None),
        (Intersection, [[X], [Y], None], []),
        (Intersection, [[X], [X], None], None),
        (Majority, [[X], [X], None], [X]),
        (Majority, [[X], [], None], None),
        (Majority, [[X], [Y], None, [], []], []),
    ],
)
def test_a_failed_labeler_counts_where_it_could_change_something(
    built: type[Combination], each: list[Spans | None], found: Spans | None
) -> None:
    assert merged(f"{built.__module__}.{built.__name__}", {}, each) == found


def test_costs_are_summed_and_failures_are_named() -> None:
    both = Intersection({"one": Marker(["a"]), "other": Marker(["b"])})
    paid = LabeledNote((X,), 1.5, 10, 3, invented=2, retries=1)
    lost = LabeledNote((), 0.5, 7, 0, failed="it timed out", retries=4)
    assert both.combine([paid, lost]) == LabeledNote((), 2.0, 17, 3, "other: it timed out", 2, 5)
    assert both.combine([paid, paid]) == LabeledNote((X,), 3.0, 20, 6, "", 4, 2)


def test_labelers_are_asked_and_combined() -> None:
    labelers = {"a": Marker(["ague"]), "b": Marker(["ague", "boils"]), "c": Human()}
    notes = [Note("ague and boils", (Span(0, 14, "DISEASE"),)), Note("nothing", ())]
    found = {built.__name__: [one.spans for one in built(labelers).label(notes)] for built in (Union, Majority)}
    assert found == {"Union": [((0, 14, "DISEASE"),), ()], "Majority": [((0, 4, "DISEASE"),), ()]}
    assert Union(labelers).needs_people and not Union(labelers, use=["a", "b"]).needs_people


def test_use_chooses_and_orders() -> None:
    labelers = {"a": Marker(["ague"], "A"), "b": Marker(["ague"], "B")}
    firsts = [next(Priority(labelers, use).label([Note("ague")])).spans[0].label for use in (None, ["b", "a"], ["b"])]
    assert firsts == ["A", "B", "B"]
    assert Priority(labelers, ["a", "b"]).fingerprint() != Priority(labelers, ["b", "a"]).fingerprint()
    assert Priority(labelers).fingerprint() == Priority({"z": labelers["a"], "y": labelers["b"]}).fingerprint()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use": []}, "got none"),
        ({"use": ["a", "a"]}, "each once; got a, a"),
        ({"use": ["onotlogy"]}, "did you mean ontology"),
        ({"labelers": {}}, "got none"),
        ({"match": "loose"}, "match must be strict or relaxed, got 'loose'"),
    ],
)
def test_what_cannot_be_combined_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Majority(**{"labelers": {"a": Human(), "ontology": Human()}} | settings)


def test_people_are_repeated_flat_and_asked_for() -> None:
    nested = (Span(0, 5, "X"), Span(0, 9, "Y"), Span(10, 12, "X"))
    assert next(Human().label([Note("a" * 12, nested)])).spans == ((0, 9, "Y"), (10, 12, "X"))
    with pytest.raises(ValueError, match="note 2 of 2 has none"):
        list(Human().label([Note("a", ()), Note("b")]))
    with pytest.raises(ValueError, match="of its text"):
        list(Human().label([Note("a", nested)]))


def test_five_labelers_have_31_combinations() -> None:
    """Every non-empty subset from one line of a sweep, as in the paper on LLM and ontology labelers."""
    register_resolvers()
    names = ["rxnorm", "snomed", "gemini", "openai", "people"]
    sweep = OmegaConf.create({"params": {"labeler.use": f"${{subsets:{','.join(names)}}}"}})
    (override,) = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in sweep.params.items()])
    assert override.is_sweep_override()
    marker = {"_target_": "support.marking.Marker"}
    base = {"_target_": "clinlm.labelers.union.Union", "_convert_": "all"}
    base |= {"labelers": {name: marker | {"words": [name]} for name in names}}
    built: list[Union] = []
    for value in override.sweep_string_iterator():
        assert isinstance(value, str)
        built.append(instantiate({**base, "use": OmegaConf.create(f"use: {value}").use}))
    assert len(built) == len({one.fingerprint() for one in built}) == len({frozenset(one.names) for one in built}) == 31
    assert all(isinstance(part, Marker) for one in built for part in one.parts)


def test_subsets_are_of_different_names() -> None:
    assert subsets("a", "b") == "[a],[b],[a,b]"
    for names in ((), ("a", "a")):
        with pytest.raises(ValueError, match="names must be unique"):
            subsets(*names)
