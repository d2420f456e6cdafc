"""Laws of ensembles, for every one in `conf/`: alone is itself, equals are one, order is nothing, all is finite."""

from pathlib import Path

import numpy as np
import pytest
from support.ensembles import FILES, KINDS, Array, ensemble, log_loss, members

from clinlm.tasks.inference_config import Kind, probabilities_from_logits
from clinlm.training.teachers.best_per_label import BestPerLabel
from clinlm.training.teachers.confidence import Confidence
from clinlm.training.teachers.learned import Learned
from clinlm.training.teachers.mean_logits import MeanLogits
from clinlm.training.teachers.mean_probabilities import MeanProbabilities

pytestmark = [
    pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem),
    pytest.mark.parametrize("kind", KINDS),
]


def test_a_member_alone_is_itself(path: Path, kind: Kind) -> None:
    logits, truth = members(kind)
    alone = ensemble(path).fit(logits[:1], truth, kind)
    np.testing.assert_allclose(
        probabilities_from_logits(alone.combine(logits[:1]), kind),
        probabilities_from_logits(logits[0], kind),
        atol=1e-12,
    )


@pytest.mark.parametrize("count", [2, 5])
def test_equal_members_are_one(path: Path, kind: Kind, count: int) -> None:
    logits, truth = members(kind)
    same = np.repeat(logits[:1], count, axis=0)
    rule = ensemble(path).fit(same, truth, kind)
    np.testing.assert_allclose(
        probabilities_from_logits(rule.combine(same), kind), probabilities_from_logits(logits[0], kind), atol=1e-9
    )
    np.testing.assert_allclose(rule.weights, 1 / count, atol=1e-9)


def test_the_order_of_members_is_nothing(path: Path, kind: Kind) -> None:
    logits, truth = members(kind)
    forward, backward = (ensemble(path).fit(each, truth, kind) for each in (logits, logits[::-1]))
    np.testing.assert_allclose(forward.combine(logits), backward.combine(logits[::-1]), atol=1e-6)
    np.testing.assert_allclose(forward.weights, backward.weights[::-1], atol=1e-6)


def test_weights_are_shares(path: Path, kind: Kind) -> None:
    logits, truth = members(kind)
    weights = ensemble(path).fit(logits, truth, kind).weights
    assert weights.shape == (3, 5) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(0), 1)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_extreme_logits_stay_finite(path: Path, kind: Kind, size: float) -> None:
    logits, truth = members(kind)
    large = logits * np.float32(size)
    for rule in (ensemble(path).fit(one, truth, kind) for one in (logits, large)):
        found = rule.combine(large)
        assert found.shape == (60, 5) and np.isfinite(found).all()
        assert ((probabilities_from_logits(found, kind) >= 0) & (probabilities_from_logits(found, kind) <= 1)).all()


def test_documents_do_not_depend_on_each_other(path: Path, kind: Kind) -> None:
    logits, truth = members(kind)
    rule = ensemble(path).fit(logits, truth, kind)
    some = np.array([7, 3, 50])
    np.testing.assert_allclose(rule.combine(logits[:, some]), rule.combine(logits)[some], atol=1e-12)


def test_it_says_what_its_card_says(path: Path, kind: Kind) -> None:
    """Against a second, slower way of computing it."""
    logits, truth = members(kind)
    values = np.stack([probabilities_from_logits(one, kind) for one in logits])
    made = ensemble(path)
    found = probabilities_from_logits(made.fit(logits, truth, kind).combine(logits), kind)
    match made:
        case MeanLogits():
            expected = probabilities_from_logits(np.stack([*logits]).mean(0), kind)
        case MeanProbabilities():
            expected = values.mean(0)
        case BestPerLabel():
            expected = values[0]  # the best by far, for every label
        case Confidence(temperature):
            whole = -(values * np.log(values)).sum(2, keepdims=True) / np.log(5)
            single = -(values * np.log(values) + (1 - values) * np.log(1 - values)) / np.log(2)
            sure = np.exp(-(whole if kind == "multiclass" else single) / temperature)
            expected = (values * sure / sure.sum(0)).sum(0)
        case Learned():
            tried = [
                _penalised(np.array([a, b, 1 - a - b]), logits, truth, kind, made.pull)
                for a in np.linspace(0.02, 0.96, 48)
                for b in np.linspace(0.02, 0.98 - a, 24)
            ]
            weights = made.fit(logits, truth, kind).weights[:, 0]
            assert _penalised(weights, logits, truth, kind, made.pull) <= min(tried) + 1e-6
            return
        case _:
            raise AssertionError(f"a new ensemble: {type(made).__name__}; say here how it is checked")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _penalised(weights: Array, logits: Array, truth: np.ndarray, kind: Kind, pull: float) -> float:
    combined = probabilities_from_logits((weights[:, None, None] * logits).sum(0), kind)
    loss = log_loss(combined, truth) * len(truth) / (5 if kind == "multilabel" else 1)
    return loss + pull * float(-(np.log(3 * weights) / 3).sum())
