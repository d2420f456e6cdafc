"""Laws of the Pareto front, against its definition, and of what is written about it."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import result

from clinlm.metrics.bootstrap import Interval
from clinlm.report.pareto import command, pareto_frame, pareto_markdown, write_pareto
from clinlm.report.pareto_front import front, numbered
from clinlm.report.results import Lineage, ModelResult

VALUE = st.one_of(st.integers(-2, 2).map(float), st.just(float("nan")), st.just(float("inf")))
"""Few values, so that points are equal and dominate each other often."""


@st.composite
def clouds(draw: st.DrawFn) -> tuple[list[list[float]], list[bool]]:
    ways = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    return draw(st.lists(st.lists(VALUE, min_size=len(ways), max_size=len(ways)), max_size=9)), ways


def beats(one: list[float], other: list[float], ways: list[bool]) -> bool:
    """The definition: as good in everything, and better in something."""
    pairs = [(a, b) if more else (b, a) for a, b, more in zip(one, other, ways, strict=True)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def slowly(points: list[list[float]], ways: list[bool]) -> list[bool]:
    whole = [not any(value != value for value in point) for point in points]
    return [
        whole[i] and not any(whole[j] and beats(points[j], point, ways) for j in range(len(points)))
        for i, point in enumerate(points)
    ]


@given(clouds())
def test_the_front_is_its_definition(cloud: tuple[list[list[float]], list[bool]]) -> None:
    points, ways = cloud
    found = front(np.array(points, dtype=float).reshape(-1, len(ways)), ways)
    assert found.tolist() == slowly(points, ways)


@given(clouds())
def test_what_is_off_the_front_is_beaten_from_it(cloud: tuple[list[list[float]], list[bool]]) -> None:
    points, ways = cloud
    points = [point for point in points if all(value == value for value in point)]
    kept = front(np.array(points, dtype=float).reshape(-1, len(ways)), ways)
    members = [point for point, one in zip(points, kept, strict=True) if one]
    assert all(any(beats(m, p, ways) for m in members) for p, one in zip(points, kept, strict=True) if not one)


def test_every_objective_needs_a_direction() -> None:
    with pytest.raises(ValueError, match="direction"):
        front(np.zeros((2, 3)), [True])


def point(name: str, quality: float, bytes: int, p50_ms: float | None, test: float | None, *typed: str) -> ModelResult:
    lineage = Lineage(overrides=typed)
    known = {} if test is None else {"macro_f1": test}
    costs: dict[str, Any] = {"bytes": bytes, "validation": {"macro_f1": quality}, "lineage": lineage, "quality": known}
    return result(name, p50_ms=p50_ms, **costs)


ENDS = {"macro_f1": Interval(0.7, 0.65, 0.74)}
POINTS = [
    replace(
        point("slow", 0.75, 4_000_000, 5.0, 0.7, "task.labels=[a,b|c]"),
        intervals={"macro_f1": Interval(0.7, 0.65, 0.74)},
    ),
    point("worse", 0.5, 5_000_000, 5.0, 0.9, "seed=1"),
    point("small", 0.6, 1_000_000, 2.0, None, "seed=2"),
    point("best", 0.8, 9_000_000, 9.0, 0.8, "seed=3"),
    point("untimed", 0.9, 100_000, None, 0.8, "seed=4"),
]


def test_numbers_go_by_quality_and_test_decides_nothing() -> None:
    assert numbered(POINTS, "macro_f1") == {3: 1, 0: 2, 2: 3}
    assert numbered([], "macro_f1") == {}


def test_the_table_holds_the_front_and_the_commands_as_they_are_typed() -> None:
    told = pareto_markdown(POINTS, "macro_f1")
    lines = [line for line in told.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["best", "slow", "small"]
    assert "75.00" in lines[3] and "70.00" in lines[3] and "65.0–74.0" in lines[3]
    typed = told.partition("```sh\n")[2].partition("```")[0].splitlines()
    expected = [["clinlm", *POINTS[place].lineage.overrides] for place in (3, 0, 2)]
    assert [shlex.split(line) for line in typed[1::2]] == expected
    assert command(replace(POINTS[0], kind="baseline")).startswith("#")
    assert "1 of 1 models is on the Pareto front of macro F1" in pareto_markdown(POINTS[3:4], "macro_f1")


def test_the_files_hold_every_point(tmp_path: Path) -> None:
    paths = write_pareto(POINTS, "macro_f1", tmp_path)
    assert [path.suffix for path in paths] == [".md", ".csv", ".svg", ".png"]
    table = pl.read_csv(paths[1])
    assert table.columns == pareto_frame(POINTS, "macro_f1").columns
    assert table["name"].to_list() == [point.name for point in POINTS]
    assert table["front"].to_list() == [2, None, 3, 1, None]
    assert table["test_low"].to_list() == [0.65, None, None, None, None]
    drawn = paths[2].read_text(encoding="utf-8")
    for point in POINTS:
        measured = 2 if point.quality and point.latency is not None else 0
        assert drawn.count(f">{point.name}</text>") >= measured, "names stand in both panels"
    assert paths[3].read_bytes().startswith(b"\x89PNG")
    again = write_pareto(POINTS, "macro_f1", tmp_path)[2].read_text(encoding="utf-8")
    assert again == drawn, "the same points make the same file"


@pytest.mark.parametrize("points", [POINTS[:1], [POINTS[4]], [POINTS[0], POINTS[0]]], ids=["one", "no front", "equal"])
def test_few_points_can_be_drawn(points: list[ModelResult], tmp_path: Path) -> None:
    assert all(path.stat().st_size for path in write_pareto(points, "macro_f1", tmp_path))
