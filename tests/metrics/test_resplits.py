"""Means over splits: resamples equal documents and splits that are really repeated; intervals cover a known truth."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.classification import quality, weighted_quality
from clinlm.metrics.resplits import TwoLevelDraws, corrected_interval, summarised

SPLITS, GROUPS = 3, 9


def corpus(seed: int) -> tuple[list[Any], list[tuple[Any, Any, Any]]]:
    """For every split the group of its test documents, and their targets, probabilities and thresholds."""
    random = np.random.default_rng(seed)
    names = np.array([f"p{number}" for number in range(GROUPS)])
    tested, models = [], []
    for _ in range(SPLITS):
        groups = np.repeat(random.permutation(names)[:5], random.integers(1, 4, size=5))
        targets = random.random((len(groups), 2)) < 0.5
        tested.append(groups)
        models.append((targets, np.round(random.random(targets.shape), 1), np.array([0.4, 0.6])))
    return tested, models


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_a_resample_is_the_documents_and_splits_that_it_repeats(seed: int) -> None:
    """A second, plain way: every drawn split once a draw, and in it every document once a draw of its group."""
    tested, models = corpus(seed)
    draws = TwoLevelDraws.of(tested, 6, seed)
    values = [
        weighted_quality(*own, draws.weights(groups))["micro_f1"] for groups, own in zip(tested, models, strict=True)
    ]
    found = draws.mean(np.stack(values))
    assert found[0] == pytest.approx(np.mean([quality(*own)["micro_f1"] for own in models]))
    for number in range(6):
        held = dict(zip(draws.names.tolist(), draws.groups[number].tolist(), strict=True))
        scores = []
        for split in np.repeat(np.arange(SPLITS), draws.splits[number]):
            targets, probabilities, thresholds = models[split]
            rows = [row for row, group in enumerate(tested[split].tolist()) for _ in range(held[group])]
            if rows and targets[rows].any():
                scores.append(quality(targets[rows], probabilities[rows], thresholds)["micro_f1"])
            elif rows:
                scores.append(
                    float(weighted_quality(*models[split], draws.weights(tested[split]))["micro_f1"][number + 1])
                )
        known = [score for score in scores if not math.isnan(score)]
        expected = np.mean(known) if known else math.nan
        assert found[number + 1] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_draws_hold_as_many_groups_and_splits_as_there_are_and_depend_on_the_seed_alone() -> None:
    tested, _ = corpus(0)
    draws, again, other = (TwoLevelDraws.of(tested, 50, seed) for seed in (1, 1, 2))
    assert set(draws.names) == {name for groups in tested for name in groups}
    assert (draws.groups.sum(axis=1) == len(draws.names)).all() and (draws.splits.sum(axis=1) == SPLITS).all()
    assert (draws.groups == again.groups).all() and (draws.groups != other.groups).any()
    one, two = (draws.weights(groups) for groups in tested[:2])
    for name in {*tested[0]} & {*tested[1]}:
        first, second = np.flatnonzero(tested[0] == name)[0], np.flatnonzero(tested[1] == name)[0]
        assert (one[:, first] == two[:, second]).all(), "a group weighs the same in every split"


def test_a_split_without_a_value_is_left_out() -> None:
    draws = TwoLevelDraws.of([np.array(["a"]), np.array(["b"])], 40, 0)
    values = np.stack([np.full(41, 0.5), np.full(41, np.nan)])
    found = draws.mean(values)
    assert found[0] == 0.5
    assert np.array_equal(np.isnan(found[1:]), draws.splits[:, 0] == 0) and np.nanmax(found) == np.nanmin(found) == 0.5


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_the_correction_widens_the_interval_of_a_t_test(values: list[float]) -> None:
    own = np.array(values)
    plain, found = corrected_interval(own, 0, 7), corrected_interval(own, 2, 7)
    assert found.value == pytest.approx(own.mean()) and found.high >= plain.high - 1e-12
    error = own.std(ddof=1) / math.sqrt(len(own))
    if error > 1e-9:
        expected = stats.t.interval(0.95, len(own) - 1, loc=own.mean(), scale=error)
        assert (plain.low, plain.high) == pytest.approx(expected)
        assert (found.high - found.low) / (plain.high - plain.low) == pytest.approx(math.sqrt(1 + len(own) * 2 / 7))


def test_of_one_split_there_is_no_correction() -> None:
    found = corrected_interval(np.array([0.5, np.nan]), 2, 7)
    assert found.value == 0.5 and math.isnan(found.low)


def test_the_spread_counts_splits_and_those_on_which_a_model_is_better() -> None:
    ours, theirs = (np.array(each)[:, None] for each in ([0.5, 0.7, np.nan], [0.6, 0.6, 0.6]))
    found = summarised({"f": ours}, {"f": theirs}, [4, 5, 6], (2, 7))
    assert (found.seeds, found.found, found.better) == ((4, 5, 6), 2, {"f": 1})
    assert found.ends("f") == (0.5, 0.7) and found.changes["f"][:2] == pytest.approx((-0.1, 0.1))
    assert summarised({"f": ours}, None, [4, 5, 6], (2, 7)).better == {}


@pytest.mark.parametrize(("splits", "noise", "least"), [(5, 0.02, 0.88), (12, 0.1, 0.86)])
def test_intervals_cover_a_known_truth(splits: int, noise: float, least: float) -> None:
    """Scores of documents have an effect of their group, and one of the split (training); the true mean is 0."""
    random, count = np.random.default_rng(splits), 100
    covered = 0
    for _ in range(80):
        group = np.repeat(np.arange(60), 3)
        score = random.normal(0, 0.2, 60)[group] + random.normal(0, 0.4, len(group))
        members = [np.flatnonzero(np.isin(group, random.permutation(60)[:15])) for _ in range(splits)]
        draws = TwoLevelDraws.of([group[own] for own in members], count, int(random.integers(2**31)))
        values = []
        for own in members:
            weights = draws.weights(group[own])
            with np.errstate(invalid="ignore"):  # a resample that holds none of the groups of a split
                values.append(weights @ score[own] / weights.sum(axis=1) + random.normal(0, noise))
        found = Interval.percentile(draws.mean(np.stack(values)))
        covered += found.low <= 0 <= found.high
    assert covered / 80 >= least
