"""Numbers in cells keep three digits that count."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.report import cells


@given(st.floats(1, 1e6))
def test_three_is_within_half_a_per_cent(number: float) -> None:
    assert float(cells.three(number)) == pytest.approx(number, rel=0.005)
    assert "e" not in cells.three(number)
    assert cells.three(-number) == f"-{cells.three(number)}"


@pytest.mark.parametrize(("number", "shown"), [(9.996, "10.0"), (99.96, "100"), (0.99951, "1.00"), (0.0124, "0.012")])
def test_three_at_the_seams(number: float, shown: str) -> None:
    assert cells.three(number) == shown


def test_nothing_and_undefined_look_alike() -> None:
    undefined = math.nan
    shown = [cells.three(None), cells.three(undefined), cells.percent(None), cells.percent(undefined)]
    shown += [cells.points(undefined), cells.percent_range(undefined, 1.0), cells.points_range(0.0, undefined)]
    assert {*shown, cells.three_range(undefined, undefined)} == {cells.NONE}


def test_shares_and_points() -> None:
    assert (cells.percent(0.57161), cells.points(-0.01), cells.points(0.01)) == ("57.16", "-1.00", "+1.00")
    assert (cells.percent_range(0.5, 0.6), cells.points_range(-0.031, 0.006)) == ("50.0–60.0", "-3.1…+0.6")


def test_grid_keeps_its_columns_whatever_the_cells_hold() -> None:
    text = cells.grid(["a\nb", "c"], [["x | y\nz", "<b> < 1"]])
    assert text == "| a b | c |\n| --- | ---: |\n| x \\| y z | &lt;b> < 1 |\n"
