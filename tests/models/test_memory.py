"""Laws of measured memory."""

import sys

import pytest
import torch

from clinlm.models.memory import PeakGrowth


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_the_peak_of_a_block_counts_and_not_what_was_before() -> None:
    """Blocks in one process do not hide each other: the second, smaller one has its own peak."""
    found = []
    for mib in (96, 32):
        with PeakGrowth() as memory:
            block = torch.ones(mib, 1024, 256)
            del block
        assert memory.mib is not None
        found.append(memory.mib)
    assert 90 < found[0] < 130 and 28 < found[1] < 60
