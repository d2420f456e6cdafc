"""Conformal thresholds are those of crepes and MAPIE, and of a plain loop where documents are in groups."""

import warnings
from typing import Any

import numpy as np
import pytest
from crepes import ConformalClassifier
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from mapie.risk_control import MultiLabelClassificationController
from sklearn.base import BaseEstimator, ClassifierMixin

from clinlm.metrics.conformal import COVERAGES, ConformalThresholds, fit_conformal
from clinlm.metrics.prediction_sets import PredictionSets, at_coverage

STEPS = 32
"""Probabilities are multiples of 1 / STEPS, so that many are tied and none is rounded."""

seeds = st.integers(0, 10_000)


def multilabel(seed: int, documents: int = 60, labels: int = 3) -> tuple[Any, Any]:
    """Documents with ties, each with a label: MAPIE's recall needs one."""
    rng = np.random.default_rng(seed)
    targets = rng.random((documents, labels)) < rng.uniform(0.1, 0.6, labels)
    targets[np.arange(documents), rng.integers(0, labels, documents)] = True
    probabilities = np.clip(np.round(STEPS * (0.3 * targets + rng.random(targets.shape) * 0.7)), 1, STEPS - 1) / STEPS
    return probabilities, targets


def multiclass(seed: int, documents: int = 60, labels: int = 4) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, documents)
    shares = rng.dirichlet(np.ones(labels), documents) / 2 + np.eye(labels)[truth] / 2
    probabilities = np.stack([rng.multinomial(2 * STEPS, own) for own in shares]) / (2 * STEPS)
    return probabilities, np.eye(labels, dtype=bool)[truth]


def alone(probabilities: Any) -> tuple[Any, Any]:
    """Every document a group, and every unit a document."""
    return np.arange(len(probabilities)), np.arange(len(probabilities))


def crepes_sets(scores: Any, asked: Any, coverage: float) -> Any:
    """Which of `asked` crepes does not exclude; it also keeps p == 1 - coverage, which ours does not."""
    p = ConformalClassifier().fit(-scores).predict_p(-asked[:, None], smoothing=False)
    return p[:, 0] > 1 - coverage + 1e-9


class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator for MAPIE whose inputs are the probabilities."""

    def __init__(self, labels: int) -> None:
        self.classes_ = np.arange(labels)

    def fit(self, *_: Any) -> "Given":
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, asked: Any) -> Any:
        return np.asarray(asked)

    def predict(self, asked: Any) -> Any:
        return np.asarray(asked).argmax(axis=1)


@settings(max_examples=15, deadline=None)
@given(seeds, st.sampled_from((5, 20, 39, 60)))
def test_classes_of_a_label_are_those_of_crepes(seed: int, documents: int) -> None:
    probabilities, targets = multilabel(seed, documents)
    asked, decided = multilabel(seed + 1, 40)
    for own in fit_conformal(probabilities, targets, *alone(probabilities), "multilabel"):
        sets = PredictionSets.of(asked, decided, own, "multilabel")
        for label, truth in enumerate(targets.T):
            values = probabilities[:, label]
            if truth.any():
                assert (sets.present[:, label] == crepes_sets(values[truth], asked[:, label], own.coverage)).all()
            if not truth.all():
                assert (sets.absent[:, label] == crepes_sets(-values[~truth], -asked[:, label], own.coverage)).all()


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_sets_of_labels_are_those_of_the_risk_control_of_mapie(seed: int) -> None:
    probabilities, targets = multilabel(seed)
    asked, decided = multilabel(seed + 1)
    grid = np.arange(STEPS) / STEPS + 0.5 / STEPS  # between the probabilities: MAPIE keeps p > threshold, ours p >= it
    controller = MultiLabelClassificationController(
        lambda given: np.asarray(given), risk="recall", method="crc", target_level=list(COVERAGES), predict_params=grid
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = controller.calibrate(probabilities, targets.astype(int)).predict(asked)
    for number, own in enumerate(fit_conformal(probabilities, targets, *alone(probabilities), "multilabel")):
        assert (PredictionSets.of(asked, decided, own, "multilabel").possible == theirs[:, :, number]).all()


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_sets_of_one_class_are_those_of_mapie(seed: int) -> None:
    probabilities, targets = multiclass(seed)
    asked, decided = multiclass(seed + 1)
    fitted = SplitConformalClassifier(
        Given(targets.shape[1]), confidence_level=list(COVERAGES), conformity_score="lac", prefit=True
    ).conformalize(probabilities, targets.argmax(axis=1))
    theirs = fitted.predict_set(asked)[1]
    for number, own in enumerate(fit_conformal(probabilities, targets, *alone(probabilities), "multiclass")):
        sets = PredictionSets.of(asked, decided, own, "multiclass")
        assert (sets.possible == theirs[:, :, number]).all() and own.absent == ()


def slow_possible(p: Any, true: Any, documents: Any, groups: Any, coverage: float) -> float:
    """Try every probability of a truth, and take the largest whose risk keeps to the bound."""
    members = {group: np.flatnonzero(groups == group) for group in set(groups.tolist())}
    best = 0.0
    for threshold in sorted(set(p[true].tolist())):
        total = 0.0
        for inside in members.values():
            losses = []
            for document in inside:
                own = documents == document
                count = true[own].sum()
                losses.append(((p[own] < threshold) & true[own]).sum() / count if count else 0.0)
            total += sum(losses) / len(losses)
        if (total + 1) / (len(members) + 1) <= 1 - coverage + 1e-9:
            best = max(best, threshold)
    return best


def slow_present(p: Any, has: Any, owner: Any, coverage: float) -> float:
    best = 0.0
    owners = set(owner[has].tolist())
    for threshold in sorted(set(p[has].tolist())):
        missed = [np.mean(p[has & (owner == group)] < threshold) for group in owners]
        if (sum(missed) + 1) / (len(owners) + 1) <= 1 - coverage + 1e-9:
            best = max(best, threshold)
    return best


@settings(max_examples=5, deadline=None)
@given(seeds, st.sampled_from(("multilabel", "multiclass", "entities")))
def test_groups_weigh_as_in_a_plain_loop(seed: int, kind: Any) -> None:
    rng = np.random.default_rng(seed)
    units = 90
    probabilities, targets = multilabel(seed, units) if kind == "multilabel" else multiclass(seed, units)
    documents = np.sort(rng.integers(0, 40, units)) if kind == "entities" else np.arange(units)
    documents = np.unique(documents, return_inverse=True)[1]
    groups = rng.integers(0, 25, int(documents.max()) + 1)
    true = targets.copy()
    if kind == "entities":
        true[:, 0] = False
    if kind == "multilabel":
        targets[::3] = true[::3] = False  # some have no label
    for own in fit_conformal(probabilities, targets, documents, groups, kind):
        assert own.possible == slow_possible(probabilities, true, documents, groups, own.coverage)
        owner = groups[documents]
        for label, threshold in enumerate(own.present):
            assert threshold == slow_present(probabilities[:, label], true[:, label], owner, own.coverage)
        for label, threshold in enumerate(own.absent):
            slow = 1 - slow_present(1 - probabilities[:, label], ~true[:, label], owner, own.coverage)
            assert threshold == slow


def test_new_groups_are_covered() -> None:
    """Over many draws of calibration groups, coverage of new groups is nominal, within binomial error."""
    rng, draws = np.random.default_rng(0), 80
    sizes = {coverage: np.zeros((draws, 3)) for coverage in COVERAGES}
    for place in range(draws):
        group = np.repeat(np.arange(120), rng.integers(1, 4, 120))
        effect = rng.normal(0, 1, 120)[group]  # notes of one patient resemble each other
        truth = rng.random((len(group), 2)) < 0.5
        logits = 2 * truth - 1 + effect[:, None] + rng.normal(0, 1, truth.shape)
        probabilities = 1 / (1 + np.exp(-logits))
        seen = group < 60
        fitted = fit_conformal(probabilities[seen], truth[seen], np.arange(seen.sum()), group[seen], "multilabel")
        for own in fitted:
            new = PredictionSets.of(probabilities[~seen], truth[~seen], own, "multilabel")
            held, others = truth[~seen], group[~seen]
            count = held.sum(axis=1)
            missed = (held & ~new.possible).sum(axis=1) / np.maximum(count, 1)
            sizes[own.coverage][place] = (
                1 - mean_by_group(missed, others),
                mean_by_group(new.present[held[:, 0], 0], others[held[:, 0]]),
                mean_by_group(new.absent[~held[:, 0], 0], others[~held[:, 0]]),
            )
    for coverage, found in sizes.items():
        error = found.std(axis=0, ddof=1) / np.sqrt(draws)
        assert (found.mean(axis=0) >= coverage - 3 * error).all()
        assert (found.mean(axis=0) <= coverage + 1.1 / 50 + 3 * error).all(), "no wider than a draw more"


def mean_by_group(values: Any, groups: Any) -> float:
    return float(np.mean([values[groups == group].mean() for group in np.unique(groups)]))


def test_too_few_documents_exclude_nothing() -> None:
    probabilities, targets = np.full((3, 2), 0.5), np.array([[True, False]] * 3)
    for own in fit_conformal(probabilities, targets, *alone(probabilities), "multilabel"):
        assert own.possible == 0 and own.present == (0, 0) and own.absent == (1, 1)
        sets = PredictionSets.of(probabilities, targets, own, "multilabel")
        assert sets.possible.all() and sets.undecided.all() and sets.abstained.all()


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_more_coverage_excludes_less(seed: int) -> None:
    probabilities, targets = multilabel(seed)
    fitted = fit_conformal(probabilities, targets, *alone(probabilities), "multilabel")
    each = [PredictionSets.of(probabilities, targets, own, "multilabel") for own in fitted]
    for less, more in zip(each, each[1:], strict=False):
        assert not (less.possible & ~more.possible).any() and not (less.present & ~more.present).any()
        assert not (less.absent & ~more.absent).any()


def test_undecided_is_between_both_thresholds_or_beyond_both() -> None:
    overlap = ConformalThresholds(0.9, 0.5, present=(0.2,), absent=(0.6,))
    apart = ConformalThresholds(0.9, 0.5, present=(0.6,), absent=(0.2,))
    probabilities = np.array([[0.1], [0.2], [0.6], [0.7]])
    decided = np.array([[False], [False], [True], [True]])
    assert PredictionSets.of(probabilities, decided, overlap, "multilabel").undecided[:, 0].tolist() == [0, 1, 1, 0]
    gap = PredictionSets.of(np.array([[0.2], [0.4], [0.6]]), np.array([[False], [True], [True]]), apart, "multilabel")
    assert gap.undecided[:, 0].tolist() == [False, True, False]
    assert gap.abstained.tolist() == [False, True, False], "predicted, and neither is plausible"
    wrong = PredictionSets.of(np.array([[0.1]]), np.array([[True]]), overlap, "multilabel")
    assert wrong.abstained[0] and not wrong.undecided[0], "surely absent, but predicted"


def test_one_class_is_answered_where_one_is_possible() -> None:
    own = ConformalThresholds(0.9, 0.4, present=(0.4,) * 3)
    probabilities = np.array([[0.9, 0.05, 0.05], [0.45, 0.45, 0.1], [0.34, 0.33, 0.33]])
    decided = np.eye(3, dtype=bool)[[0, 0, 0]]
    sets = PredictionSets.of(probabilities, decided, own, "multiclass")
    assert sets.abstained.tolist() == [False, True, True]
    assert sets.undecided.tolist() == [[False] * 3, [True, True, False], [True, False, False]]


def test_a_coverage_without_thresholds_is_refused() -> None:
    with pytest.raises(ValueError, match="an older version wrote it"):
        at_coverage((), 0.9)
    with pytest.raises(ValueError, match="one of 0.8, for which the serving.json of x has thresholds, got 0.9"):
        at_coverage((ConformalThresholds(0.8, 0.5),), 0.9, "x")
    assert at_coverage((ConformalThresholds(0.8, 0.5),), 0.8).possible == 0.5
