"""The arithmetic of quantised numbers: by hand, at its limits, and there and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinlm.models.layers.rounding import input_levels, pack_nibbles, quantize_groups, quantize_rows, unpack_nibbles


def test_groups_by_hand() -> None:
    weight = torch.tensor([[7.0, -3.4, 14.0, 0.0, -0.7], [0.0, 0.0, 1.0, 1.0, 0.0]])
    integers, scale = quantize_groups(weight, 2)
    assert integers.tolist() == [[7, -3, 7, 0, -7], [0, 0, 7, 7, 0]]
    assert scale.tolist() == [pytest.approx([1.0, 2.0, 0.1]), pytest.approx([1.0, 1 / 7, 1.0])]


def test_a_group_of_a_whole_row_is_a_row() -> None:
    weight = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    integers, scale = quantize_groups(weight, 12)
    rows, row_scale = quantize_rows(weight, 7)
    assert integers.equal(rows) and scale[:, 0].equal(row_scale)


@pytest.mark.parametrize("inputs", [1, 2, 14, 15, 31])
def test_every_nibble_comes_back(inputs: int) -> None:
    """All 15 values in the lower and in the upper half of a byte."""
    integers = (torch.arange(15 * inputs).reshape(15, inputs) % 15 - 7).to(torch.int8)
    packed = pack_nibbles(integers)
    assert packed.shape == (15, (inputs + 1) // 2) and packed.dtype == torch.uint8
    assert unpack_nibbles(packed, inputs).equal(integers)


def test_the_earlier_input_is_in_the_lower_bits() -> None:
    assert pack_nibbles(torch.tensor([[-7, 7, 0]], dtype=torch.int8)).tolist() == [[(15 << 4) + 1, (8 << 4) + 8]]


@pytest.mark.parametrize(
    ("low", "high", "scale", "point"),
    [
        (0.0, 255.0, 1.0, 0),
        (-255.0, 0.0, 1.0, 255),
        (-100.0, 155.0, 1.0, 100),
        (51.0, 510.0, 2.0, 0),
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_levels_by_hand(low: float, high: float, scale: float, point: int) -> None:
    found = input_levels(torch.tensor(low), torch.tensor(high))
    assert (float(found[0]), int(found[1])) == (pytest.approx(scale), point)


@given(st.floats(-1e4, 1e4, width=32), st.floats(0, 1e4, width=32))
def test_the_ends_of_a_range_are_levels(low: float, width: float) -> None:
    """And 0 exactly: padding and pruned units stay what they are."""
    scale, point = input_levels(torch.tensor(low), torch.tensor(low + width))
    assert scale > 0 and 0 <= point <= 255
    first, last = float(-point * scale), float((255 - point) * scale)
    assert first <= 0 <= last
    for end in (min(low, 0.0), max(low + width, 0.0)):
        assert first - scale / 2 * 1.001 <= end <= last + scale / 2 * 1.001
