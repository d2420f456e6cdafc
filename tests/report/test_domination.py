"""Which rows dominate which, against the definition."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.reports import result

from clinlm.report.domination import COMPARED, with_domination
from clinlm.report.results import ModelResult
from clinlm.report.tables import dominated

SCORES = st.sampled_from([0.1, 0.2, 0.3, math.nan])


@st.composite
def rows(draw: Any) -> list[ModelResult]:
    """Up to five rows with few different numbers, so that many are equal; a tagger's table has no AUROC."""
    tagger, count = draw(st.booleans()), draw(st.integers(0, 5))
    found = []
    for place in range(count):
        quality = {name: draw(SCORES) for name in COMPARED if not (tagger and name == "macro_auroc")}
        time = draw(st.sampled_from([None, 1.0, 2.0]))
        found.append(result(f"r{place}", p50_ms=time, quality=quality, bytes=draw(st.integers(0, 2))))
    return found


def naive(own: ModelResult, other: ModelResult, metrics: list[str]) -> bool:
    """Whether `other` dominates `own`."""
    if own.p50_ms is None or other.p50_ms is None or not own.bytes or not other.bytes:
        return False
    pairs = [(-own.bytes, -other.bytes), (-own.p50_ms, -other.p50_ms)]
    pairs += [(own.quality[name], other.quality[name]) for name in metrics]
    return all(theirs >= ours for ours, theirs in pairs) and any(theirs > ours for ours, theirs in pairs)


@given(rows())
def test_rows_are_dominated_as_defined(results: list[ModelResult]) -> None:
    known = [name for name in COMPARED if any(not math.isnan(own.quality.get(name, math.nan)) for own in results)]
    for own in with_domination(results, "macro_f1"):
        assert {*own.dominated_by} == {other.name for other in results if naive(own, other, known)}
        values = [next(r for r in results if r.name == name).quality["macro_f1"] for name in own.dominated_by]
        assert values == sorted(values, reverse=True) or any(map(math.isnan, values))


@given(rows())
def test_domination_is_a_strict_order(results: list[ModelResult]) -> None:
    above = {own.name: {*own.dominated_by} for own in with_domination(results, "micro_f1")}
    for name, others in above.items():
        assert name not in others and all(name not in above[other] and above[other] <= others for other in others)


def test_the_cell_names_the_best() -> None:
    assert [dominated(names) for names in ((), ("a",), ("a", "b", "c"))] == ["–", "a", "a +2"]
