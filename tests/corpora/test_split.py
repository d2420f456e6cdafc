"""Laws of splitting by group and of choosing documents with even labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Bool, Int

from clinlm.corpora.split import SPLITS, even_subset, imbalance, split_groups

SHARES = (0.7, 0.1, 0.2)


def long_tailed(seed: int, documents: int, labels: int = 12) -> Bool[np.ndarray, "documents labels"]:
    """Co-occurring labels with frequencies like 1, 1/2, 1/3, ...; every document has one."""
    rng = np.random.default_rng(seed)
    frequency = 0.4 / np.arange(1, labels + 1)
    companions = rng.normal(size=(documents, 3)) @ rng.normal(size=(3, labels)) * 0.7
    logits = np.log(frequency / (1 - frequency)) + companions
    targets: Bool[np.ndarray, "documents labels"] = rng.random(logits.shape) < 1 / (1 + np.exp(-logits))
    targets[~targets.any(1), 0] = True
    return targets


def grouped(seed: int, documents: int) -> list[str]:
    """Most patients have a note or two, some have a dozen."""
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(0.4, documents)
    return [f"p{number}" for number in rng.permutation(np.repeat(np.arange(documents), sizes)[:documents])]


def label_error(targets: Bool[np.ndarray, "documents labels"], split: Int[np.ndarray, " documents"]) -> float:
    """Return how far the splits' shares of each label are from the wanted ones, on average."""
    shares = np.stack([targets[split == number].sum(0) / targets.sum(0) for number in range(len(SHARES))])
    return float(np.abs(shares - np.array(SHARES)[:, None]).mean())


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 7)), min_size=12, max_size=80),
    st.sampled_from([SHARES, (0.5, 0.5), (0.9, 0.05, 0.05)]),
    st.integers(0, 5),
)
def test_no_group_straddles_and_no_split_is_empty(
    documents: list[tuple[int, int]], shares: tuple[float, ...], seed: int
) -> None:
    groups = [f"p{group}" for group, _ in documents]
    targets = np.array([[bool(bits & 1 << label) for label in range(3)] for _, bits in documents])
    if len(set(groups)) < len(shares):
        with pytest.raises(ValueError, match="at least as many groups"):
            split_groups(groups, targets, shares, seed)
        return
    split = split_groups(groups, targets, shares, seed)
    homes: dict[str, set[int]] = {}
    for group, number in zip(groups, split.tolist(), strict=True):
        homes.setdefault(group, set()).add(number)
    assert all(len(numbers) == 1 for numbers in homes.values())
    assert set(split.tolist()) == set(range(len(shares)))
    np.testing.assert_array_equal(split, split_groups(groups, targets, shares, seed))


@pytest.mark.parametrize("seed", range(3))
def test_labels_are_spread_far_better_than_by_chance(seed: int) -> None:
    targets, groups = long_tailed(seed, 1500), grouped(seed, 1500)
    split = split_groups(groups, targets, SHARES, seed)
    np.testing.assert_allclose(np.bincount(split) / len(split), SHARES, atol=0.02)

    names, number = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    by_chance = [label_error(targets, rng.choice(len(SHARES), len(names), p=SHARES)[number]) for _ in range(20)]
    ours = label_error(targets, split)
    assert ours < 0.01
    assert ours < 0.5 * min(by_chance)


def test_groups_of_one_document_split_every_label_exactly() -> None:
    targets = np.eye(4, dtype=bool)[np.repeat(np.arange(4), 20)]
    split = split_groups([str(n) for n in range(80)], targets, SHARES, 0)
    for label in range(4):
        np.testing.assert_array_equal(np.bincount(split[targets[:, label]]), [14, 2, 4])


def test_the_seed_decides_and_nothing_else_does() -> None:
    targets, groups = long_tailed(0, 200), grouped(0, 200)
    first, second = (split_groups(groups, targets, SHARES, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first, split_groups(groups, targets, SHARES, 0))
    assert (first != second).any()
    renamed = split_groups([f"x{group}" for group in groups], targets, SHARES, 0)
    np.testing.assert_array_equal(first, renamed)


def test_documents_without_labels_are_split_too() -> None:
    split = split_groups([str(n) for n in range(100)], np.zeros((100, 2), dtype=bool), SHARES, 0)
    np.testing.assert_array_equal(np.bincount(split), [70, 10, 20])


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.8, 0.2, 0.0), ()])
def test_shares_are_positive_and_sum_to_1(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_groups(["a", "b", "c"], np.ones((3, 1), dtype=bool), shares, 0)


def test_thirds_are_shares() -> None:
    split = split_groups([str(n) for n in range(30)], np.ones((30, 1), dtype=bool), (1 / 3, 1 / 3, 1 / 3), 0)
    np.testing.assert_array_equal(np.bincount(split), [10, 10, 10])
    assert len(SPLITS) == 3


@given(st.integers(1, 60), st.integers(0, 9))
def test_a_subset_has_its_size_and_repeats_no_document(size: int, seed: int) -> None:
    targets = long_tailed(seed, 60, labels=5)
    chosen = even_subset(targets, size, seed)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] and chosen[-1] < 60
    np.testing.assert_array_equal(chosen, even_subset(targets, size, seed))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(0, 3), st.data())
def test_labels_that_exclude_each_other_fill_up_like_water(counts: list[int], seed: int, data: st.DataObject) -> None:
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    size = data.draw(st.integers(1, len(label)))
    chosen = np.bincount(label[even_subset(np.eye(len(counts), dtype=bool)[label], size, seed)], minlength=len(counts))
    unfinished = chosen[chosen < counts]
    assert (chosen <= counts).all()
    if len(unfinished):
        assert chosen.max() - unfinished.min() <= 1


@pytest.mark.parametrize("seed", range(4))
def test_a_subset_is_never_less_even_than_by_chance(seed: int) -> None:
    targets = long_tailed(seed, 3000)
    for size in (300, 1500):
        rng = np.random.default_rng(seed)
        by_chance = [imbalance(targets[rng.permutation(3000)[:size]]) for _ in range(20)]
        assert imbalance(targets[even_subset(targets, size, seed)]) < 0.8 * min(by_chance)
    assert imbalance(targets[even_subset(targets, 3000, seed)]) == imbalance(targets)


def test_a_frequent_companion_is_refused_for_good() -> None:
    """Documents refused once for their companions must not be taken later, while better ones are left."""
    targets = np.zeros((4000, 3), dtype=bool)
    targets[:2000, 0] = targets[2000:, 1] = True
    targets[:, 2] = np.arange(4000) % 4 > 0  # three quarters of the documents bring label 2 along
    chosen = even_subset(np.random.default_rng(0).permutation(targets), 1200, 0)
    assert imbalance(np.random.default_rng(0).permutation(targets)[chosen]) < 1.05


def test_a_label_inside_another_is_chosen_first() -> None:
    targets = np.zeros((400, 2), dtype=bool)
    targets[:, 0] = True
    targets[::4, 1] = True
    assert imbalance(targets[even_subset(targets, 100, 0)]) == 1


def test_what_cannot_be_chosen_is_an_error() -> None:
    with pytest.raises(ValueError, match="documents must be <= 3, got 4"):
        even_subset(np.ones((3, 2), dtype=bool), 4, 0)
    with pytest.raises(ValueError, match="must have a label"):
        even_subset(np.array([[True], [False]]), 1, 0)


def test_imbalance_is_the_quotient_of_extremes() -> None:
    assert imbalance(np.array([[True, True], [True, False], [True, False]])) == 3
    assert imbalance(np.array([[True, False]])) == float("inf")
