"""Laws of tokens kept end to end, and of batches by length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinlm.tasks.batches import Collate, LengthBatches, RankCollate, ordered_loader
from clinlm.tasks.encoded import Encoded

ROWS = st.lists(st.lists(st.integers(0, 30_000), min_size=1, max_size=9), min_size=1, max_size=4)
DOCUMENTS = st.lists(ROWS, min_size=1, max_size=8)
LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=120)


@given(DOCUMENTS)
def test_encoding_keeps_every_row(documents: list[list[list[int]]]) -> None:
    encoded = Encoded.of(documents, pad=7)
    assert [[row.tolist() for row in encoded.rows(n)] for n in range(len(documents))] == documents
    assert encoded.lengths().tolist() == [sum(map(len, rows)) for rows in documents]


@given(DOCUMENTS, DOCUMENTS)
def test_documents_follow_others(first: list[list[list[int]]], second: list[list[list[int]]]) -> None:
    both = Encoded.joined([Encoded.of(first, pad=7, cut=1), Encoded.of(second, pad=7, cut=2)])
    assert [[row.tolist() for row in both.rows(n)] for n in range(len(both))] == first + second
    assert (both.pad, both.cut) == (7, 3)


@given(DOCUMENTS, st.data())
def test_collation_pads_and_masks(documents: list[list[list[int]]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(documents))), min_size=1, unique=True))
    batch = Encoded.of(documents, pad=7).collate(chosen)
    lines = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
    rows = [[token for token, there in zip(*line, strict=True) if there] for line in lines]
    assert rows == [row for n in chosen for row in documents[n]]
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 7).all()
    assert (batch["attention_mask"].diff(dim=1) <= 0).all()  # padding on the right only
    assert batch["input_ids"].shape[1] == max(map(len, rows))
    assert batch["document"].tolist() == [place for place, n in enumerate(chosen) for _ in documents[n]]
    assert batch["index"].tolist() == chosen


def test_the_share_of_a_token_by_hand() -> None:
    """Token 1 is 2 of the 5 tokens of documents 0 and 2 that are not 8 or 9."""
    encoded = Encoded.of([[[8, 1, 2, 9], [8, 3, 9]], [[8, 1, 1, 9]], [[8, 4, 1, 9]]], pad=0)
    assert encoded.share_of(1, np.array([0, 2]), {8, 9}) == 2 / 5
    assert encoded.share_of(1, np.array([0]), {1, 2, 3, 8, 9}) == 0


def test_targets_and_teacher_logits_follow_their_documents() -> None:
    encoded = Encoded.of([[[n]] for n in range(5)], pad=0)
    targets, logits = torch.arange(10.0).view(5, 2), torch.arange(15.0).view(5, 3)
    batch = Collate(encoded, targets, logits)([3, 0])
    assert batch["targets"].equal(targets[[3, 0]])
    assert batch["teacher_logits"].equal(logits[[3, 0]])
    assert "teacher_logits" not in Collate(encoded, targets)([3, 0])


@given(LENGTHS, st.integers(1, 9), st.one_of(st.none(), st.integers(0, 3)), st.integers(1, 4))
def test_every_document_once_an_epoch(lengths: list[int], size: int, seed: int | None, pool: int) -> None:
    documents = np.arange(len(lengths)) * 3 + 1
    batches = LengthBatches(documents, np.array(lengths), size, seed, pool)
    for epoch in range(3):
        batches.set_epoch(epoch)
        seen = list(batches)
        assert sorted(n for batch in seen for n in batch) == documents.tolist()
        assert len(seen) == len(batches)
        assert sum(len(batch) < size for batch in seen) <= 1
        assert seen == list(batches)  # asked twice, answered the same


@given(LENGTHS, st.integers(1, 5), st.integers(0, 5), st.integers(0, 5))
def test_the_order_depends_on_seed_and_epoch_alone(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    documents, tokens = np.arange(len(lengths)), np.array(lengths)
    resumed = LengthBatches(documents, tokens, size, seed)
    resumed.set_epoch(epoch)
    unbroken = LengthBatches(documents, tokens, size, seed)
    for number in range(epoch + 1):
        unbroken.set_epoch(number)
        torch.manual_seed(number)
        np.random.default_rng(number)
        order = list(unbroken)
    assert order == list(resumed)


def test_another_epoch_and_another_seed_give_another_order() -> None:
    lengths = np.arange(1, 41)
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1)):
        batches = LengthBatches(np.arange(40), lengths, 4, seed)
        batches.set_epoch(epoch)
        orders.append(str(list(batches)))
    assert len(set(orders)) == 4


def test_without_a_seed_the_shortest_come_first() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 50)
    batches = LengthBatches(np.arange(50), lengths, 8, seed=None)
    order = [n for batch in batches for n in batch]
    assert (np.diff(lengths[order]) >= 0).all()


def test_batches_of_similar_length_waste_little() -> None:
    """The share of padding is far below that of batches drawn blindly."""
    lengths = np.random.default_rng(0).geometric(0.01, 1000)

    def padded(batches: list[list[int]]) -> int:
        return sum(len(batch) * int(lengths[batch].max()) for batch in batches)

    blind = np.random.default_rng(1).permutation(1000).reshape(-1, 8).tolist()
    ours = list(LengthBatches(np.arange(1000), lengths, 8, seed=0))
    assert padded(ours) - lengths.sum() < 0.25 * (padded(blind) - lengths.sum())


def test_batches_of_one_are_single_documents() -> None:
    assert sorted(LengthBatches(np.array([5, 2, 9]), np.array([1, 1, 1]), 1, seed=0)) == [[2], [5], [9]]


def test_no_batch_is_empty() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        LengthBatches(np.arange(3), np.arange(3), 0, seed=0)


def test_a_loader_hands_the_numbers_of_documents_to_the_collation() -> None:
    encoded = Encoded.of([[[1] * length] for length in (3, 1, 2, 5)], pad=0)
    chosen = np.array([3, 0, 2])
    assert [*ordered_loader(encoded, chosen, list, 2)] == [[2, 0], [3]]  # type: ignore[arg-type]
    assert sorted(n for batch in ordered_loader(encoded, chosen, list, 2, seed=1) for n in batch) == [0, 2, 3]  # type: ignore[arg-type]


@given(LENGTHS, st.integers(1, 9), st.integers(2, 4), st.booleans())
def test_ranks_read_every_document_of_a_batch_once(lengths: list[int], size: int, ranks: int, by_word: bool) -> None:
    """The part of every rank, without what it does not count, and what all know of the whole batch."""
    words = [np.zeros(length, np.int64) for length in lengths] if by_word else None
    encoded = Encoded.of([[[1] * length] for length in lengths], pad=0, places=words)
    targets = torch.arange(encoded.units).float().unsqueeze(1)
    collate = Collate(encoded, targets, teacher_logits=2 * targets)
    for documents in LengthBatches(np.arange(len(lengths)), np.array(lengths), size, seed=0):
        parts = [RankCollate(collate, rank, ranks)(documents) for rank in range(ranks)]
        counts = parts[0]["whole.counts"].tolist()
        counted = [part["index"][:count] for part, count in zip(parts, counts, strict=True)]
        whole = torch.cat(counted)
        assert sorted(whole.tolist()) == sorted(encoded.index(documents).tolist())
        for rank, part in enumerate(parts):
            assert counts[rank] in (0, len(part["index"])) and len(part["input_ids"])
            assert part["whole.index"].equal(whole) and part["whole.targets"].equal(targets[whole])
            assert part["whole.teacher_logits"].equal(2 * targets[whole])
        shares = [float(part["share"]) for part in parts]
        assert sum(shares) == pytest.approx(ranks)
        assert [share > 0 for share in shares] == [count > 0 for count in counts]
