"""A mask that keeps pruned weights zero while a network trains."""

from torch import Tensor, nn


class KeepZeros(nn.Module):
    """A parametrization that multiplies by a fixed mask: zeros stay zero through every optimiser step."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=True)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` with the masked entries zero."""
        return weight * self.mask
