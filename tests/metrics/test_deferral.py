"""Laws of deferral: doubt is the expected number of wrong decisions, and the fewest notes are deferred that must be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlm.metrics.deferral import doubt, most_doubt


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
def test_doubt_is_the_expected_number_of_wrong_decisions(seed: int, documents: int, labels: int) -> None:
    draws = np.random.default_rng(seed)
    probabilities, decided = draws.random((documents, labels)), draws.random((documents, labels)) < 0.5
    expected = [
        sum(1 - p if yes else p for p, yes in zip(row, chosen, strict=True))
        for row, chosen in zip(probabilities, decided, strict=True)
    ]
    np.testing.assert_allclose(doubt(probabilities, decided), expected)


def test_of_one_label_it_is_twice_the_probability_of_another() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [1.0, 0.0, 0.0]])
    decided = probabilities == probabilities.max(axis=1, keepdims=True)
    np.testing.assert_allclose(doubt(probabilities, decided), [0.6, 0.0])


def test_a_note_without_an_answer_has_no_doubt_that_compares() -> None:
    assert np.isnan(doubt(np.array([[np.nan, 0.5]]), np.array([[False, True]]))).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 0.3))
def test_every_greater_share_keeps_to_the_loss_and_the_next_smaller_one_does_not(
    seed: int, documents: int, loss: float
) -> None:
    draws = np.random.default_rng(seed)
    doubts = draws.integers(0, 9, documents) / 4  # some are equal
    first, second = draws.random(documents) < 0.5, draws.random(documents) < 0.7

    def score(deferred: np.ndarray) -> float:
        return float(np.where(deferred, second, first).mean())

    limit = most_doubt(doubts, score, loss)
    floor = score(np.ones(documents, bool)) - loss
    tried = [-1.0, *np.unique(doubts)]
    assert limit in tried
    assert all(score(doubts > own) >= floor for own in tried if own <= limit)
    above = [own for own in tried if own > limit]
    assert not above or score(doubts > above[0]) < floor


@pytest.mark.parametrize(("first", "second", "expected"), [(1.0, 1.0, 3.0), (0.0, 1.0, -1.0)])
def test_as_good_a_first_model_defers_nothing_and_a_useless_one_everything(
    first: float, second: float, expected: float
) -> None:
    doubts = np.array([1.0, 2.0, 3.0])
    assert most_doubt(doubts, lambda deferred: float(np.where(deferred, second, first).mean()), 0.0) == expected
