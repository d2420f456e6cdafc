"""Arithmetic of quantised weights and inputs: which integers represent which numbers."""

import torch
from jaxtyping import Float, Int8, Int32, UInt8
from torch import Tensor

from clinlm.config.errors import ModelError

WEIGHTS = 63
"""Largest integer in a row of an INT8 matrix. Kernels for processors without VNNI add two 8-bit products in 16 bits:
with inputs up to 255, weights above 64 could overflow silently, and results would depend on the machine. Torch takes
the bit from the inputs instead (`reduce_range`), which costs more: pooled vectors of MiniLM then have a cosine of 0.976
with those in float32, and of 0.994 here, as with all bits of both."""
TABLES = 127
"""Largest integer in a row of an INT8 table: rows are looked up, nothing is summed."""
LEVELS = 255
"""Largest level of an input; the smallest is 0."""
NIBBLES = 7
"""Largest 4-bit weight; they are symmetric, -7 to 7, and -8 is not used."""
_MIDDLE = 8  # the 4 bits that represent 0
_SMALLEST_STEP = 1e-30  # float32 can just hold its inverse


@torch.no_grad()
def quantize_rows(
    weight: Float[Tensor, "outputs inputs"], largest: int = WEIGHTS
) -> tuple[Int8[Tensor, "outputs inputs"], Float[Tensor, " outputs"]]:
    """Return integers and scales of a weight: the largest number of every row becomes `largest`.

    A row of zeros has the scale 1.
    """
    scale = row_scales(weight, largest)
    return (weight.detach() / scale[:, None]).round().clamp(-largest, largest).to(torch.int8), scale


@torch.no_grad()
def row_scales(weight: Float[Tensor, "*outputs inputs"], largest: int = WEIGHTS) -> Float[Tensor, "*outputs"]:
    """Return the step size of the integers of every row."""
    scale = weight.detach().abs().amax(-1) / largest
    return torch.where(scale > 0, scale, torch.ones_like(scale))


@torch.no_grad()
def input_levels(low: Float[Tensor, ""], high: Float[Tensor, ""]) -> tuple[Float[Tensor, ""], Int32[Tensor, ""]]:
    """Return scale and zero point (0 to 255) of inputs from `low` to `high`; 0 is always one of the levels.

    Level q represents `(q - zero point) * scale`. Where all inputs are 0, the scale is 1.
    """
    low, high = low.float().clamp_max(0), high.float().clamp_min(0)
    scale = (high - low) / LEVELS
    scale = torch.where(scale > _SMALLEST_STEP, scale, torch.ones_like(scale))
    return scale, (-low / scale).round().clamp(0, LEVELS).to(torch.int32)


@torch.no_grad()
def quantize_groups(
    weight: Float[Tensor, "outputs inputs"], size: int
) -> tuple[Int8[Tensor, "outputs inputs"], Float[Tensor, "outputs groups"]]:
    """Return 4-bit integers (-7 to 7) and one scale per `size` inputs of a row; the last group may be shorter."""
    parts = torch.split(weight.detach().float(), size, 1)
    scale = torch.stack([row_scales(part, NIBBLES) for part in parts], 1)
    wide = scale.repeat_interleave(size, 1)[:, : weight.shape[1]]
    return (weight.detach() / wide).round().clamp(-NIBBLES, NIBBLES).to(torch.int8), scale


def pack_nibbles(integers: Int8[Tensor, "outputs inputs"]) -> UInt8[Tensor, "outputs bytes"]:
    """Return two 4-bit integers per byte, each stored plus 8: the first of two inputs in the lower bits.

    An odd number of inputs is padded with a 0 (stored as 8).
    """
    bits = (integers + _MIDDLE).to(torch.uint8)
    if bits.shape[1] % 2:
        bits = torch.nn.functional.pad(bits, (0, 1), value=_MIDDLE)
    return bits[:, ::2] | (bits[:, 1::2] << 4)


def unpack_nibbles(packed: UInt8[Tensor, "outputs bytes"], inputs: int) -> Int8[Tensor, "outputs inputs"]:
    """Return the integers that `pack_nibbles` packed."""
    bits = torch.stack((packed & 15, packed >> 4), 2).flatten(1)[:, :inputs]
    return bits.to(torch.int8) - _MIDDLE


@torch.no_grad()
def halves(weight: Float[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    """Return `weight` in float16, whose numbers have 11 bits and reach 65,504.

    Raises:
        ModelError: a weight is larger.
    """
    found = weight.detach().to(torch.float16)
    if weight.is_meta or not bool(found.isinf().any()):  # NaN: a skeleton whose values come later
        return found
    raise ModelError(
        f"weights in half precision must be at most 65,504, got {float(weight.abs().max()):.6g}; leave the layer out "
        "(quantize.skip), or use quantize=dynamic"
    )
