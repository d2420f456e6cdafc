"""Risk-coverage curves, coverage by group and abstention equal plain loops; changes are paired."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from clinlm.metrics.bootstrap import resample
from clinlm.metrics.conformal import COVERAGES, fit_conformal
from clinlm.metrics.scored_answers import ScoredAnswers
from clinlm.metrics.selective import BINS, RiskCurve, log_odds_margin
from clinlm.metrics.uncertainty import SHARES, DrawnUncertainty, level_values

seeds = st.integers(0, 10_000)


def slow_curve(confidence: Any, wrong: Any, seed: int) -> Any:
    """The risk of the k most confident answers, for every k, ties in random order."""
    order = np.lexsort((np.random.default_rng(seed).random(len(wrong)), -confidence))
    return np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1)


@settings(max_examples=6, deadline=None)
@given(seeds)
def test_area_and_risks_are_means_over_the_orders_of_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    documents = rng.integers(0, 20, 50)
    confidence, wrong = rng.integers(0, 8, 50) / 8, rng.random(50) < 0.3
    weights = resample(20, 1, seed)
    curve = RiskCurve.of(confidence, wrong, rng.random(50) < 0.5, documents, weights)
    for row, area in enumerate(curve.area()):
        times = weights[row, documents].astype(int)
        orders = [slow_curve(np.repeat(confidence, times), np.repeat(wrong, times), each) for each in range(200)]
        assert area == pytest.approx(np.mean([own.mean() for own in orders]), abs=0.015)
        assert curve.risk(1.0)[row] == pytest.approx(orders[0][-1])
        half = len(orders[0]) // 2
        assert curve.risk(half / len(orders[0]))[row] == pytest.approx(
            np.mean([own[half - 1] for own in orders]), abs=0.05
        )


def test_without_ties_the_area_is_exact() -> None:
    rng = np.random.default_rng(1)
    confidence, wrong = rng.permutation(BINS) / BINS, rng.random(BINS) < 0.2
    truth = rng.random(BINS) < 0.4
    curve = RiskCurve.of(confidence, wrong, truth, np.arange(BINS), np.ones((1, BINS)))
    slow = slow_curve(confidence, wrong, 0)
    assert curve.area()[0] == pytest.approx(slow.mean())
    kept = np.argsort(-confidence)[: BINS // 2]
    assert curve.risk(0.5)[0] == pytest.approx(wrong[kept].mean())
    assert curve.risk_among(0.5)[0] == pytest.approx(wrong[kept][truth[kept]].mean())


def test_many_confidences_change_the_area_little() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.random(20_000)
    wrong = rng.random(20_000) < 0.4 * (1 - confidence)
    curve = RiskCurve.of(confidence, wrong, wrong, np.arange(20_000), np.ones((1, 20_000)))
    assert curve.answered.shape[1] <= BINS
    assert curve.area()[0] == pytest.approx(slow_curve(confidence, wrong, 0).mean(), abs=1e-3)


def test_sure_answers_have_the_larger_margin() -> None:
    margins = log_odds_margin(np.array([[0.0, 0.5], [0.3, 1.0]]), np.array([0.3, 0.5]))
    assert margins[0, 1] == margins[1, 0] == 0 and np.isfinite(margins).all() and margins[0, 0] > 20


def scored(seed: int, documents: int = 60, kind: Any = "multilabel", crossed: bool = False) -> ScoredAnswers:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, documents // 2, documents)
    truth = rng.random((documents, 3)) < 0.4
    logits = 2.0 * truth - 1 + rng.normal(0, 1, truth.shape)
    probabilities, place, thresholds = 1 / (1 + np.exp(-logits)), np.arange(documents), np.full(3, 0.5)
    if kind != "multilabel":
        truth = np.eye(3, dtype=bool)[rng.integers(0, 3, documents)]
        logits = 3.0 * truth + rng.normal(0, 1, truth.shape)
        probabilities, thresholds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), None
    if kind == "entities":
        place = np.sort(np.append(rng.integers(0, documents // 3, documents - 20), np.arange(20)))
        group = np.arange(documents // 3) // 2
    own = None if crossed else fit_conformal(probabilities, truth, place, group, kind)
    return ScoredAnswers.of(probabilities, truth, thresholds, place, group, ("a", "b", "c"), kind, own)


@settings(max_examples=6, deadline=None)
@given(seeds, st.sampled_from(("multilabel", "multiclass", "entities")))
def test_levels_equal_plain_loops(seed: int, kind: Any) -> None:
    answers = scored(seed, kind=kind)
    count = len(answers.group)
    for coverage, sets in answers.sets.items():
        values = {name: float(own[0]) for name, own in level_values(answers, coverage, np.ones((1, count))).items()}
        truths = answers.truths
        by_group: dict[int, list[float]] = {}
        whole = []
        for document, group in enumerate(answers.group.tolist()):
            mine = answers.documents == document
            true = truths[mine].sum()
            by_group.setdefault(group, []).append((truths & sets.possible)[mine].sum() / true if true else 1.0)
            whole.append(not sets.abstained[mine].any())
        assert values["sets"] == pytest.approx(np.mean([np.mean(own) for own in by_group.values()]))
        assert values["answered"] == pytest.approx(np.mean(whole))
        assert np.isnan(values["absent"]) == (kind != "multilabel"), "elsewhere nothing excludes absence"
        assert values["set_size"] == pytest.approx(sets.possible.sum(axis=1).mean())
        assert values["sets"] >= coverage - 1e-9, "on the documents that calibrated it, at least"


def test_intervals_are_binomial_without_groups_and_wider_where_notes_are_copies() -> None:
    rng = np.random.default_rng(0)
    truth = np.ones((80, 1), dtype=bool)
    probabilities = rng.random((80, 1))
    for copies in (1, 4):
        group = np.arange(80 * copies) // copies
        many = np.repeat(probabilities, copies, axis=0)
        own = fit_conformal(probabilities, truth, np.arange(80), np.arange(80), "multilabel")
        answers = ScoredAnswers.of(
            many,
            np.ones_like(many, dtype=bool),
            np.full(1, 0.5),
            np.arange(len(many)),
            group,
            ("a",),
            "multilabel",
            own,
        )
        found = answers.set_coverage(answers.sets[0.9].possible).intervals()[0]
        hits = round(80 * found.value)
        theirs = binomtest(hits, 80).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_no_note_of_validation_calibrates_itself() -> None:
    """Over many draws, crossed sets cover as promised; stored thresholds cover their own documents at least."""
    found = [
        [level_values(scored(seed, 100, crossed=crossed), 0.9, np.ones((1, 100)))["sets"][0] for seed in range(25)]
        for crossed in (False, True)
    ]
    own, crossed = np.mean(found, axis=1)
    assert min(found[0]) >= 0.9 - 1e-9 and own > 0.9
    assert crossed == pytest.approx(0.92, abs=0.03)


@pytest.mark.parametrize("kind", ("multilabel", "multiclass", "entities"))
def test_changes_are_paired_and_zero_against_itself(kind: Any) -> None:
    answers, other = scored(3, kind=kind), scored(3, kind=kind, crossed=True)
    weights = resample(len(answers.group), 50, 0, answers.group)
    one, two = DrawnUncertainty.of(answers, weights), DrawnUncertainty.of(other, weights)
    same = one.measured(one)
    every = [own for level in same.levels for own in level.changes.values() if not np.isnan(own.value)]
    assert len(every) >= 15 and all(own.value == own.low == own.high == 0 for own in every)
    assert all(own.value == 0 for own in same.changes.values())
    alone, against = one.measured(None), two.measured(one)
    assert alone.changes == {} and all(own.change is None for own in alone.labels)
    for level, before in zip(against.levels, alone.levels, strict=True):
        assert level.changes["set_size"].value == pytest.approx(level.set_size.value - before.set_size.value)
    assert [own.coverage for own in alone.levels] == [*COVERAGES] and len(alone.curve) == len(SHARES)
    assert alone.curve[-1] == pytest.approx(alone.risk.value) and alone.unit == (
        "words" if kind == "entities" else "notes"
    )
    assert len(alone.labels) == len(alone.levels[0].labels) == (2 if kind == "entities" else 3)


def test_many_labels_have_values_without_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, other = scored(0), scored(1)
    weights = resample(60, 20)
    few = DrawnUncertainty.of(answers, weights).measured(DrawnUncertainty.of(other, weights))
    monkeypatch.setattr("clinlm.metrics.uncertainty.MOST_LABELS", 1)
    many = DrawnUncertainty.of(answers, weights).measured(DrawnUncertainty.of(other, weights))
    assert many.changes["label_aurc"].value == pytest.approx(few.changes["label_aurc"].value)
    for a, b in zip(few.labels, many.labels, strict=True):
        assert a.change is not None and b.change is not None
        values = [(own.rise.value, own.missed_rise.value, own.change.value) for own in (a, b) if own.change]
        assert values[0] == pytest.approx(values[1], nan_ok=True)
        assert np.isnan([b.rise.low, b.missed_rise.high, b.change.low]).all()


def test_a_confident_error_makes_abstention_worse() -> None:
    """The notes with a rare label are wrong and sure: of the answers that remain, more are wrong."""
    truth = np.zeros((200, 1), dtype=bool)
    truth[:20] = True
    probabilities = np.where(truth, 0.01, np.linspace(0.02, 0.4, 200)[:, None])
    own = fit_conformal(probabilities, truth, np.arange(200), np.arange(200), "multilabel")
    place = np.arange(200)
    answers = ScoredAnswers.of(probabilities, truth, np.full(1, 0.5), place, place, ("rare",), "multilabel", own)
    (label,) = DrawnUncertainty.of(answers, resample(200, 200)).measured(None).labels
    assert label.risk == pytest.approx(0.1) and label.risk_answered == pytest.approx(0.125)
    assert label.rise.low > 0 and label.missed == label.missed_answered == 1
