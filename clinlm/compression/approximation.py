"""Errors and ranks of weights that are replaced by approximations."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SMALLEST = 1e-5  # of a channel's largest input and weight: an unused channel would divide by 0


@torch.no_grad()
def relative_error(weight: Float[Tensor, "rows columns"], approximation: Float[Tensor, "rows columns"]) -> float:
    """Return the Frobenius norm of the difference over that of the weight."""
    exact = weight.double()
    error = float((exact - approximation.double()).norm() / exact.norm().clamp_min(1e-300))
    assert math.isfinite(error)
    return error


def low_rank_shrinks(linear: nn.Linear, rank: int) -> bool:
    """Return whether two factors of this rank have fewer weights than the layer."""
    return rank * (linear.in_features + linear.out_features) < linear.in_features * linear.out_features


def smoothing_factors(
    largest: Float[Tensor, " inputs"], weight: Float[Tensor, "outputs inputs"], alpha: float
) -> Float[Tensor, " inputs"]:
    """Return the s by which SmoothQuant divides inputs and multiplies columns of the weight (equation 4).

    Source: Xiao et al. 2023, arXiv:2211.10438: s = max|X|^alpha / max|W|^(1 - alpha).

    Args:
        largest: largest absolute value of every input.
        alpha: share of the difficulty that moves from inputs to weights, in [0, 1].
    """
    return largest.clamp_min(_SMALLEST) ** alpha / weight.abs().amax(0).clamp_min(_SMALLEST) ** (1 - alpha)
