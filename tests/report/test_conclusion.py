"""Every combination of orderings gives sentences that name the right rows, found by a slow and naive reader."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import result

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.noninferiority import NonInferiority
from clinlm.metrics.resplits import SplitSpread
from clinlm.report.baselines import BASELINE
from clinlm.report.conclusion import conclude, differences_sentence, external_sentences
from clinlm.report.domination import with_domination
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.verdicts import corrected_together, power_sentence

VALUES = st.sampled_from([0.4, 0.5, 0.6])
SMALL = BASELINE + " int8"
WORDS = {-1: "lower for", 0: "not shown to differ for", 1: "higher for"}


def judged(value: float, spread: float, **fields: Any) -> NonInferiority:
    """Return the verdict on a normal difference."""
    low, high = value - 1.96 * spread, value + 1.96 * spread
    outcome = "non-inferior" if low > -0.02 else "inferior" if high < -0.02 else "undecided"
    z = (value + 0.02) / spread
    p, other = (0.5 * math.erfc(each / math.sqrt(2)) for each in (z, -z))
    plain: dict[str, Any] = {"units": 400}
    return NonInferiority(
        outcome, outcome, "micro_f1", 0.02, Interval(value, low, high, 0.5), spread, p, other, **plain | fields
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("spread", "ending"), [(0.001, "enough for the margin of 2"), (0.005, "are needed for 1")])
def test_more_notes_are_asked_for_only_where_they_are_needed(spread: float, ending: str) -> None:
    assert power_sentence([judged(0.0, spread)]).endswith(ending)


@st.composite
def tables(draw: Any) -> list[ModelResult]:
    """TF-IDF in up to two rows, a teacher and up to three students, with few different numbers."""

    def row(name: str, **fields: Any) -> ModelResult:
        quality = {"micro_f1": draw(VALUES), "macro_f1": draw(VALUES)}
        size = {"bytes": draw(st.integers(1, 2)), "p50_ms": draw(st.sampled_from([1.0, 2.0]))}
        return result(name, quality=quality, **size, **fields)

    found = [row(name, kind="baseline") for name in draw(st.sampled_from([(), (BASELINE,), (BASELINE, SMALL)]))]
    found.append(row("teacher", role="teacher", reference="teacher"))
    for place in range(draw(st.integers(1, 3))):
        verdict = judged(draw(st.sampled_from([-0.06, -0.03, -0.021, 0.0])), draw(st.sampled_from([0.001, 0.02])))
        found.append(row(f"s{place}", role="student", reference="teacher", non_inferiority=verdict))
    return corrected_together(with_domination(found, "macro_f1"))


def listed(text: str) -> set[str]:
    return {*re.split(", | and ", text)}


@given(tables())
def test_the_floor_names_the_models_below_it(rows: list[ModelResult]) -> None:
    said = conclude(rows, rows[-1].name, "macro_f1").floor
    expected = set()
    for metric, name in (("macro_f1", "macro F1"), ("micro_f1", "micro F1")):
        best = max((r.quality[metric] for r in rows if r.kind == "baseline"), default=None)
        if best is not None:
            expected |= {(name, own.name, own.quality[metric] < best) for own in rows if own.kind == "stage"}
    found = set()
    for clause in said.removesuffix(".").split("; ") if said else []:
        clause = re.sub(r" \([\d. a-z%]*\)", "", clause)
        if " better than " in clause:
            best, names, metrics = re.fullmatch(r"(.+) is better than (.+) in (.+)", clause).groups()  # type: ignore[union-attr]
            below = listed(names)
        else:
            names, best, metrics = re.fullmatch(r"(.+) (?:is|are) not below (.+) in (.+)", clause).groups()  # type: ignore[union-attr]
            below = set()
        others = {own.name for own in rows if own.kind == "stage"} if below else listed(names)
        found |= {(metric, name, name in below) for metric in listed(metrics) for name in others}
        for metric in listed(metrics):
            key = metric.lower().replace(" ", "_")
            assert next(r for r in rows if r.name == best).quality[key] == max(
                r.quality[key] for r in rows if r.kind == "baseline"
            )
    assert found == expected


@given(tables())
def test_the_verdicts_name_every_model_once(rows: list[ModelResult]) -> None:
    said = conclude(rows, rows[-1].name, "macro_f1").verdict
    claims = [own for own in rows if own.non_inferiority is not None]
    if len(claims) == 1:
        own = claims[0].non_inferiority
        assert own is not None and ("undecided" in said) is (own.verdict == "undecided")
        assert ("is inferior to teacher" in said) is (own.verdict == "inferior")
        assert said.startswith("s0 is non-inferior to teacher") is (own.verdict == "non-inferior")
        return
    for outcome in ("non-inferior", "inferior", "undecided"):
        expected = {r.name for r in claims if r.non_inferiority and r.non_inferiority.verdict == outcome}
        part = re.search(rf"(?<![-\w]){outcome}: ([s\d, and]+?)(?: \(|;|\.)", said)
        assert (listed(part[1]) if part else set()) == expected


@given(tables())
def test_domination_names_who_is_dominated_and_by_a_baseline_first(rows: list[ModelResult]) -> None:
    said = conclude(rows, rows[-1].name, "macro_f1").domination
    by_name = {own.name: own for own in rows}
    found = dict(re.findall(r"(?:^|; )(\S+(?: int8)?) dominates ([s\d, and]+?)(?=;|:)", said))
    named = {name: best for best, names in found.items() for name in listed(names)}
    if len(found) < 3:
        assert {*named} == {own.name for own in rows if own.role == "student" and own.dominated_by}
    for name, best in named.items():
        assert best in by_name[name].dominated_by
        baselines = [other for other in by_name[name].dominated_by if by_name[other].kind == "baseline"]
        assert not baselines or best in baselines


@given(tables())
def test_what_to_try_follows_its_rules(rows: list[ModelResult]) -> None:
    said = conclude(rows, rows[-1].name, "macro_f1").next
    last, teacher = rows[-1], next(own for own in rows if own.name == "teacher")
    floor = max((r.quality["macro_f1"] for r in rows if r.kind == "baseline"), default=0)
    own = last.non_inferiority
    assert own is not None
    if max(teacher.quality["macro_f1"], last.quality["macro_f1"]) < floor:
        assert "or train on more notes: even uncompressed, teacher is below it" in said
    elif last.quality["macro_f1"] < floor or any(BASELINE in name for name in last.dominated_by):
        assert said.startswith(f"Next: use {BASELINE}")
    elif own.verdict == "non-inferior":
        assert "resplits=5" in said
    elif own.verdict == "undecided" and own.detectable > 0.02:
        assert f"test on {own.needed(0.02):,} notes" in said
    else:
        assert "train longer" in said
    found = conclude(rows, rows[-1].name, "macro_f1")
    assert bool(found.use) is said.startswith("Next: use TF-IDF") and said.startswith(
        f"Next: use {found.use}" * bool(found.use)
    )
    assert found == conclude(rows, rows[-1].name, "macro_f1"), "deterministic"


@pytest.mark.parametrize("splits", [None, SplitSpread((1, 2), 2, {}, {}, {}, {}, {})])
def test_a_student_above_the_floor_is_not_given_up_for_its_teacher(splits: SplitSpread | None) -> None:
    """Which a student may be that reads more of the note, or learns from TF-IDF too."""
    floor = result(BASELINE, 0.6, kind="baseline", bytes=9)
    teacher = result("teacher", 0.5, role="teacher", reference="teacher", bytes=9)
    student = result("s", 0.7, role="student", reference="teacher", non_inferiority=judged(0.1, 0.001))
    found = conclude([floor, teacher, replace(student, splits=splits)], "s", "micro_f1")
    expected = "confirm s on other splits (resplits=5)" if splits is None else "use s, or compress it further"
    assert found.next == f"Next: {expected}." and not found.use
    assert found.floor.startswith("TF-IDF is better than teacher in micro F1")
    lower = replace(student, quality={"micro_f1": 0.55})
    assert conclude([floor, teacher, lower], "s", "micro_f1").next == (
        "Next: use TF-IDF, or train on more notes: even uncompressed, teacher is below it."
    )


def test_an_undecided_verdict_says_what_notes_can_show() -> None:
    teacher = result("teacher", role="teacher", reference="teacher")
    student = result("student", role="student", reference="teacher", non_inferiority=judged(-0.001, 0.01))
    said = conclude([teacher, student], "student", "micro_f1").verdict
    assert said.startswith("Whether student is non-inferior to teacher is undecided: micro F1 -0.10 (-2.06…+1.86)")
    assert "400 notes can show a loss below 2.9 points; 785 are needed for 2." in said
    near = replace(student, non_inferiority=judged(-0.02, 0.005))
    assert "but the loss is near it" in conclude([teacher, near], "student", "micro_f1").verdict
    worse = replace(student, non_inferiority=judged(-0.01, 0.001))
    assert "non-inferior to teacher, and worse than it" in conclude([teacher, worse], "student", "micro_f1").verdict


@pytest.mark.parametrize("count", [1, 3])
def test_a_changed_margin_is_told_with_every_verdict(count: int) -> None:
    caveat = "margin changed from 2 to 1 points after results were known (first fixed 2026-11-29)"
    rows = [result("teacher", role="teacher", reference="teacher")]
    for place in range(count):
        own = judged(0.0, 0.001, caveat=caveat)
        rows.append(result(f"s{place}", role="student", reference="teacher", non_inferiority=own))
    assert conclude(rows, "s0", "micro_f1").verdict.endswith(f"; {caveat}.")


def test_a_deployment_does_not_dominate_its_own_model() -> None:
    teacher = result("teacher", role="teacher", reference="teacher", bytes=9)
    own = result("s", role="student", reference="teacher", p50_ms=2.0, non_inferiority=judged(0.0, 0.001))
    fast = replace(own, name="s @onnx", latency=result("x").latency, deployment={"of": "s"})
    rows = with_domination([teacher, own, fast], "micro_f1")
    assert rows[1].dominated_by == ("s @onnx",) and not conclude(rows, "s", "micro_f1").domination


def test_the_remedy_is_of_the_technique() -> None:
    teacher = result("teacher", role="teacher", reference="teacher")
    bad = result("s", role="student", reference="teacher", non_inferiority=judged(-0.06, 0.001))
    pruned = replace(bad, lineage=Lineage(stage="prune", techniques=("pruning",)))
    assert "a lower prune.ratio" in conclude([teacher, pruned], "s", "micro_f1").next
    taught = replace(bad, lineage=Lineage(stage="student", techniques=("distillation",), teachers=("teacher",)))
    assert "stages.student.teachers=[teacher,tfidf]" in conclude([teacher, taught], "s", "micro_f1").next


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=4))
def test_differences_are_sorted_by_their_intervals(signs: list[int]) -> None:
    found = {f"m{place}": Interval(sign, sign - 0.5, sign + 0.5) for place, sign in enumerate(signs)}
    said = differences_sentence(found, "strict F1", "people")
    for sign, words in WORDS.items():
        part = re.search(rf"{words} ([m\d, and]+?)(?:;|\.)", said)
        assert (listed(part[1]) if part else set()) == {f"m{place}" for place, own in enumerate(signs) if own == sign}
    assert not differences_sentence({"m": None}, "strict F1", "people")


def test_an_external_corpus_has_its_own_floor_and_drop() -> None:
    rows = [
        result(BASELINE, 0.6, kind="baseline"),
        result("teacher", 0.5, role="teacher", drop=Interval(-0.1, -0.2, -0.05)),
        result("s", 0.7, role="student", drop=Interval(0.0, -0.1, 0.1)),
    ]
    floor, drop = external_sentences(rows, "ward")
    assert floor == "TF-IDF is better than teacher on ward in micro F1 (60.00 against 50.00 %)."
    assert drop == "micro F1 on ward is below that on the own test documents for teacher."


def test_the_floor_says_where_the_difference_from_it_may_be_chance() -> None:
    """Of either row of TF-IDF, by the paired difference to that row."""
    for name, other in ((SMALL, BASELINE), (BASELINE, SMALL)):
        floor = result(name, kind="baseline", reference="teacher", quality={"micro_f1": 0.6})
        for high, told in ((0.1, True), (-0.05, False)):
            against = {name: {"micro_f1": Interval(-0.1, -0.3, high)}, other: {"micro_f1": Interval(-0.1, -0.3, -high)}}
            teacher = result("teacher", role="teacher", reference="teacher", quality={"micro_f1": 0.5})
            said = conclude([floor, replace(teacher, against_baselines=against)], "teacher", "micro_f1").floor
            assert said.endswith("though the difference may be chance.") is told


def test_a_baseline_that_cannot_be_fitted_is_told_first() -> None:
    rows = [result(BASELINE, kind="baseline", quality={}), result("teacher", role="teacher", reference="teacher")]
    assert conclude(rows, "teacher", "micro_f1").sentences[0].startswith("TF-IDF could not be fitted")
