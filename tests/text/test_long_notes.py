"""Laws of cutting notes into rows and pooling their logits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinlm.tasks.batches import pool_rows
from clinlm.text.long_notes import Head, HeadTail, LongNotes, Windows

NOTES = st.integers(0, 80).map(lambda length: list(range(length)))
ROOM = st.integers(1, 30)
SHARE = st.floats(0.01, 0.99)
OVERLAP = st.floats(0, 0.99)
WAYS = st.one_of(
    st.just(Head()),
    SHARE.map(HeadTail),
    st.builds(Windows, OVERLAP, st.integers(1, 9), st.sampled_from(["max", "mean"])),
)


@given(WAYS, NOTES, ROOM)
def test_rows_fit_and_keep_the_order(way: LongNotes, note: list[int], room: int) -> None:
    rows = way.cut(note, room)
    assert len(rows) >= 1
    for row in rows:
        assert len(row) <= room
        assert list(row) == sorted(set(row))  # tokens are their own places: none repeats, none moves
    if len(note) <= room:
        assert [list(row) for row in rows] == [note]


@given(NOTES, ROOM)
def test_head_keeps_the_beginning(note: list[int], room: int) -> None:
    assert Head().cut(note, room) == [note[:room]]


@given(SHARE, NOTES, ROOM)
def test_head_and_tail_keep_both_ends_and_fill_the_room(share: float, note: list[int], room: int) -> None:
    (row,) = HeadTail(share).cut(note, room)
    assert len(row) == min(len(note), room)
    if len(note) > room > 1:
        head = next(place for place, token in enumerate(row) if token != place)
        assert abs(head - share * room) <= 1
        assert list(row[head:]) == note[len(note) - (room - head) :]
        assert head >= 1
        assert row[-1] == note[-1]


@given(OVERLAP, NOTES, ROOM, st.integers(1, 9))
def test_windows_cover_what_they_may(overlap: float, note: list[int], room: int, most: int) -> None:
    everything = Windows(overlap, 1000).cut(note, room)
    assert {token for row in everything for token in row} == set(note)
    assert all(everything[-1][-1] not in row for row in everything[:-1])  # no window but the last reaches the end
    assert Windows(overlap, most).cut(note, room) == everything[:most]


@given(OVERLAP, NOTES, ROOM)
def test_windows_overlap_as_promised(overlap: float, note: list[int], room: int) -> None:
    rows = Windows(overlap, 1000).cut(note, room)
    assert all(len(row) == room for row in rows[:-1])
    for before, after in zip(rows, rows[1:], strict=False):
        if len(after) == room:
            assert abs(len(set(before) & set(after)) - overlap * room) <= 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.sampled_from(["max", "mean"]), st.integers(0, 9))
def test_pooling_is_a_loop_over_documents(rows: list[int], pooling: str, seed: int) -> None:
    document = torch.repeat_interleave(torch.tensor(rows))
    logits = torch.randn(len(document), 3, generator=torch.Generator().manual_seed(seed))
    way = Windows(pooling=pooling)  # type: ignore[arg-type]
    pooled = pool_rows(way, logits, document, len(rows))
    for number in range(len(rows)):
        own = logits[document == number]
        assert torch.allclose(pooled[number], own.amax(0) if pooling == "max" else own.mean(0))
    np.testing.assert_allclose(
        way.pool(logits.numpy(), document.numpy(), len(rows)), pooled.numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("way", [Head(), HeadTail(), Windows(), Windows(pooling="mean")])
def test_one_row_a_document_pools_to_itself(way: LongNotes) -> None:
    logits = torch.randn(4, 3)
    assert pool_rows(way, logits, torch.arange(4), 4).equal(logits)
    np.testing.assert_array_equal(way.pool(logits.numpy(), np.arange(4), 4), logits.numpy())


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_gradients_pass_through_pooling(pooling: str) -> None:
    document = torch.tensor([0, 0, 1])
    logits = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    way = Windows(pooling=pooling)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda rows: pool_rows(way, rows, document, 2), (logits,))


@pytest.mark.parametrize("way", [Head(), HeadTail()])
def test_several_rows_need_a_way_that_pools(way: LongNotes) -> None:
    with pytest.raises(RuntimeError, match="one row per document, got 3 for 2"):
        pool_rows(way, torch.zeros(3, 1), torch.tensor([0, 0, 1]), 2)
    with pytest.raises(RuntimeError, match="one row per document, got 3 for 2"):
        way.pool(np.zeros((3, 1)), np.array([0, 0, 1]), 2)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_the_head_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
        HeadTail(share)


@pytest.mark.parametrize("settings", [{"overlap": 1.0}, {"overlap": -0.1}, {"most": 0}, {"pooling": "sum"}])
def test_settings_of_windows_are_checked(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"long_notes.{next(iter(settings))}"):
        Windows(**settings)  # type: ignore[arg-type]


def test_settings_tell_ways_apart() -> None:
    """The repr names the cached tokens: equal settings must share it, others must not."""
    ways = [Head(), HeadTail(), HeadTail(0.5), Windows(), Windows(0.25), Windows(most=2), Windows(pooling="mean")]
    assert len({repr(way) for way in ways}) == len(ways)
    assert repr(Windows(0.25)) == repr(Windows(overlap=0.25))
