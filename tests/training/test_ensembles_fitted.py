"""What ensembles do with little, with ties, and with labels that say nothing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ensembles import FILES, KINDS, ensemble, log_loss, members

from clinlm.tasks.inference_config import Kind, probabilities_from_logits
from clinlm.training.teachers.best_per_label import BestPerLabel
from clinlm.training.teachers.confidence import Confidence
from clinlm.training.teachers.learned import Learned

kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_added_to_a_document_of_shares_changes_nothing(path: Path) -> None:
    logits, truth = members("multiclass")
    moved = logits + np.random.default_rng(1).normal(size=(3, 60, 1)).astype(np.float32) * 5
    found, again = (
        probabilities_from_logits(ensemble(path).fit(each, truth, "multiclass").combine(each), "multiclass")
        for each in (logits, moved)
    )
    np.testing.assert_allclose(found, again, atol=1e-4)


@kinds
def test_learned_weights_are_pulled_to_equal_ones(kind: Kind) -> None:
    logits, truth = members(kind)
    spread = [Learned(pull=pull).fit(logits, truth, kind).weights[:, 0].std() for pull in (0.1, 10.0, 1000.0, 1e6)]
    assert spread == sorted(spread, reverse=True) and spread[0] > 0.2 and spread[-1] < 1e-3
    few = Learned().fit(logits[:, :6], truth[:6], kind).weights[:, 0]
    assert few.std() < Learned().fit(logits, truth, kind).weights[:, 0].std(), "fewer documents say less"


@kinds
@pytest.mark.parametrize("scope", ["global", "per_label"])
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_learned_weights_do_not_lose_to_equal_ones_where_they_were_fitted(kind: Kind, scope: str, seed: int) -> None:
    logits, truth = members(kind, seed)
    rule = Learned(scope=scope).fit(logits, truth, kind)  # type: ignore[arg-type]
    learned, equal = (
        log_loss(probabilities_from_logits(each, kind), truth) for each in (rule.combine(logits), logits.mean(0))
    )
    assert learned <= equal + 1e-6
    assert (rule.weights[0] > rule.weights[2]).all(), "who knows nothing counts for less"


def test_learned_weights_of_labels_are_their_own() -> None:
    """Each label's weights are those that it gets alone, save for the common scale of one label."""
    logits, truth = members("multilabel")
    logits[[0, 2], :, 3] = logits[[2, 0], :, 3]  # for one label the last member is the best
    weights = Learned(scope="per_label").fit(logits, truth, "multilabel").weights
    assert weights[:, 3].argmax() == 2 and (np.delete(weights, 3, axis=1).argmax(0) == 0).all()
    for label in range(5):
        alone = Learned().fit(logits[:, :, [label]], truth[:, [label]], "multilabel").weights[:, 0]
        np.testing.assert_allclose(weights[:, label], alone, atol=1e-4)


def test_the_best_of_a_label_answers_it() -> None:
    logits, truth = members("multilabel")
    logits[[0, 2], :, 3] = logits[[2, 0], :, 3]
    rule = BestPerLabel().fit(logits, truth, "multilabel")
    assert rule.weights.argmax(0).tolist() == [0, 0, 0, 2, 0] and set(rule.weights.ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(rule.combine(logits)[:, 3], logits[2, :, 3])


def test_a_label_that_says_nothing_goes_to_the_best_overall() -> None:
    logits, truth = members("multilabel")
    truth[:, 1], truth[:, 2] = True, False
    assert BestPerLabel().fit(logits, truth, "multilabel").weights.argmax(0).tolist() == [0] * 5
    nothing = BestPerLabel().fit(logits, np.zeros_like(truth), "multilabel")
    np.testing.assert_allclose(nothing.weights, 1 / 3)


def test_shares_of_one_whole_have_one_best_member() -> None:
    logits, truth = members("multiclass")
    logits[[0, 2], :, 3] = logits[[2, 0], :, 3]
    weights = BestPerLabel().fit(logits, truth, "multiclass").weights
    assert (weights == weights[:, :1]).all() and weights[0, 0] == 1


@kinds
def test_the_sure_decide(kind: Kind) -> None:
    sure, unsure = np.full((1, 5), -6.0), np.full((1, 5), -0.1)
    sure[0, 1], unsure[0, 2] = 6.0, 0.1
    logits = np.stack([sure, unsure])
    truth = np.array([[False, True, False, False, False]])
    shares = [Confidence(t).fit(logits, truth, kind).weights[0].min() for t in (0.05, 0.25, 1.0, 100.0)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.999 and shares[-1] == pytest.approx(0.5, abs=0.01)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ensemble.pull must be positive and finite.*got 0"):
        Learned(pull=0)
    with pytest.raises(ValueError, match="ensemble.scope must be global or per_label, got 'label'"):
        Learned(scope="label")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ensemble.temperature must be positive and finite, got -1"):
        Confidence(-1)
