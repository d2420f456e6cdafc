"""Counts at the scores of positives equal those of comparing every cell with every such score."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clinlm.metrics import score_steps
from clinlm.metrics.classification import fit_thresholds
from clinlm.metrics.score_steps import ScoreSteps

scores = st.one_of(st.integers(0, 8).map(lambda step: step / 8), st.floats(0, 1), st.floats(0, 2**-29))
tables = st.tuples(st.integers(1, 12), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.float64, shape, elements=scores))
)
WAYS = [
    {"FEW": 100},
    {"FEW": 0},
    {"FEW": 0, "LARGE": 2, "_SHIFT": 48},
    {"FEW": 0, "LARGE": 5, "GROUP": 7, "_SHIFT": 50, "_COLUMNS": 1},
]


@pytest.fixture(params=WAYS, ids=["compared", "sorted", "thinned", "blocks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in request.param.items():
        monkeypatch.setattr(score_steps, name, value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables)
@pytest.mark.usefixtures("way")
def test_counts_equal_comparing_every_cell(table: tuple[Any, Any]) -> None:
    truth, values = table
    steps = ScoreSteps.of(truth, values)
    for column in range(truth.shape[1]):
        own, cells = slice(*steps.first[column : column + 2]), values[:, column]
        expected = np.unique(cells[truth[:, column]])[::-1]
        assert steps.score[own].tolist() == expected.tolist() and (steps.column[own] == column).all()
        above, taken = (part[own] for part in steps.counts(values))
        assert above.tolist() == [(cells > step).sum() for step in expected]
        assert taken.tolist() == [(cells >= step).sum() for step in expected]
        below = steps.below(values, np.arange(len(steps.score)))[own]
        assert below.tolist() == [max(cells[cells < step], default=0) for step in expected]
    cells = []
    for part, rows, places, ties in steps.reached(values):
        places = places + part.start
        assert len(rows) and (places >= part.start).all() and (places < part.stop).all()
        cells += zip(steps.column[places].tolist(), rows.tolist(), places.tolist(), ties.tolist(), strict=True)
    assert sorted(cells) == [*_reached_one_by_one(steps, values)]
    assert (steps.score[steps.step] == values[steps.row, steps.column[steps.step]]).all()


def _reached_one_by_one(steps: ScoreSteps, values: Any) -> Iterator[tuple[int, int, int, bool]]:
    for column in range(values.shape[1]):
        own = range(*steps.first[column : column + 2].tolist())
        for row, value in enumerate(values[:, column]):
            reached = [step for step in own if steps.score[step] <= value]
            if reached:
                yield column, row, reached[0], steps.score[reached[0]] == value


def test_one_column_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_steps, "GROUP", 100)
    random = np.random.default_rng(0)
    values, truth = random.random((1000, 1)), random.random((1000, 1)) < 0.3
    parts = [(part.start, part.stop, len(rows)) for part, rows, _, _ in ScoreSteps.of(truth, values).reached(values)]
    assert len(parts) == 11 and all(stop == start for (_, stop, _), (start, _, _) in pairwise(parts))
    assert max(cells for _, _, cells in parts) < 150, "cells of a part"


@pytest.mark.usefixtures("way")
def test_however_cells_are_counted_thresholds_are_the_same() -> None:
    random = np.random.default_rng(0)
    truth = random.random((300, 40)) < 0.1
    values = np.round(np.clip(0.3 * truth + 0.7 * random.random(truth.shape), 0, 1), 2)
    found = fit_thresholds(truth, values, "per_label")
    for label, threshold in enumerate(found.tolist()):
        cuts = np.unique(np.append(values[:, label], threshold))
        decided = values[:, label] >= cuts[:, None]
        f1 = 2 * (decided & truth[:, label]).sum(axis=1) / (decided.sum(axis=1) + truth[:, label].sum())
        assert f1[cuts == threshold] == f1.max()
