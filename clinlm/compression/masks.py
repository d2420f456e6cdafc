"""Masks of single weights: parametrizations that keep weights zero, and the selection of the weights to remove."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clinlm.config.errors import ModelError

Scope = Literal["global", "layer", "row"] | int
"""Which weights compete: all; those of a linear layer; those of a row (an output); that many neighbours in a row."""


class Mask(nn.Module):
    """A parametrization that zeroes masked weights in the forward and the backward pass.

    Attributes:
        alive: false where a weight is zero.
    """

    alive: Tensor

    def __init__(self, alive: Bool[Tensor, "outputs inputs"]) -> None:
        super().__init__()
        self.register_buffer("alive", alive)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` with zeros where it is masked."""
        return weight * self.alive

    def barred(self) -> Bool[Tensor, "outputs inputs"]:
        """Return which weights may not return: all masked ones, because nothing updates them."""
        return ~self.alive


class MovementMask(Mask):
    """A mask that accumulates -gradient x weight of all weights, masked ones included.

    Attributes:
        scores: the sums so far.
    """

    scores: Tensor
    start: Tensor

    def __init__(self, alive: Bool[Tensor, "outputs inputs"]) -> None:
        super().__init__(alive)
        self.register_buffer("scores", torch.zeros(alive.shape, device=alive.device))
        self.register_buffer("start", ~alive, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        # The last argument requires a gradient, so that a frozen weight (LoRA) has a backward pass too.
        trigger = torch.zeros((), requires_grad=True)
        masked: Tensor = _Watched.apply(weight, self.alive, self.scores, trigger)  # type: ignore[no-untyped-call]
        return masked

    def barred(self) -> Bool[Tensor, "outputs inputs"]:
        """See `Mask.barred`: only weights that were zero at the start."""
        return self.start


class _Watched(torch.autograd.Function):
    """weight x mask; in the backward pass the weight gets the masked gradient, the scores -gradient x weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, alive: Tensor, scores: Tensor, _: Tensor) -> Tensor:
        ctx.save_for_backward(weight, alive)
        ctx.scores = scores
        return weight * alive

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        weight, alive = ctx.saved_tensors
        (gradient,) = gradients
        ctx.scores.addcmul_(gradient, weight, value=-1.0)
        return gradient * alive, None, None, None


@torch.no_grad()
def remove_lowest(masks: Sequence[Mask], scores: Sequence[Tensor], scope: Scope, ratio: float) -> dict[int, float]:
    """Mask the share `ratio` of every group of competing weights: those with the lowest scores, and barred ones.

    Args:
        masks: changed in place.
        scores: of every weight (outputs x inputs), one tensor per mask.
        scope: which weights compete.
        ratio: share of every group, in (0, 1).

    Returns:
        the largest removed score of each group from which weights were removed, by its number.

    Raises:
        ModelError: a score is not finite.
    """
    shapes = [mask.alive.shape for mask in masks]
    flat = torch.cat([score.detach().float().flatten() for score in scores])
    if not bool(flat.isfinite().all()):
        raise ModelError("scores of weights must be finite, got NaN or infinity; lower the learning rate")
    barred = torch.cat([mask.barred().flatten() for mask in masks])
    alive, thresholds = ~barred, {}
    groups = zip(*(competitors(values, shapes, scope) for values in (flat, barred, alive)), strict=True)
    for number, (score, bar, kept) in enumerate(groups):
        count = round(ratio * score.shape[-1])
        if count and score.numel():
            kept.copy_(survivors(score, bar, count))
            removed = score[~kept & ~bar]
            if len(removed):
                thresholds[number] = float(removed.max())
    for mask, part in zip(masks, torch.split(alive, [math.prod(shape) for shape in shapes]), strict=True):
        mask.alive.copy_(part.view_as(mask.alive))
    return thresholds


def competitors(flat: Tensor, shapes: Sequence[torch.Size], scope: Scope) -> list[Tensor]:
    """Return views of `flat`, the concatenated weights of shapes (outputs, inputs).

    Competing weights lie along the last dimension of a view. Left-over neighbours at the end of a row are in none.
    """
    if scope == "global":
        return [flat[None]]
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    if scope == "layer":
        return [part[None] for part in parts]
    tables = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    if scope == "row":
        return tables
    whole = [table.shape[1] // scope for table in tables]
    return [table[:, : n * scope].view(len(table), n, scope) for table, n in zip(tables, whole, strict=True)]


def survivors(
    scores: Float[Tensor, "*groups members"], barred: Bool[Tensor, "*groups members"], count: int
) -> Bool[Tensor, "*groups members"]:
    """Return which members of every group are kept: all but barred ones and, until `count` are removed, the lowest.

    Args:
        scores: finite.
        barred: never kept.
        count: at least 1. Among equals, the first are kept.
    """
    ranked = scores.masked_fill(barred, -math.inf)
    level = ranked.kthvalue(count, dim=-1, keepdim=True).values
    below, equal = ranked < level, ranked == level
    room = count - below.sum(-1, keepdim=True)
    if not bool(
        (equal.sum(-1, keepdim=True) > room).any()
    ):  # the usual case: counting equals of a BERT needs gigabytes
        return ~(below | equal | barred)
    from_the_end = equal.flip(-1).cumsum(-1, dtype=torch.int32).flip(-1)
    return ~(below | (equal & (from_the_end <= room)) | barred)


def bake(
    weight: Float[Tensor, "outputs inputs"], alive: Bool[Tensor, "outputs inputs"]
) -> Bool[Tensor, "outputs inputs"]:
    """Make `weight` exactly zero where it is masked, and only there; return where it is zero."""
    weight.masked_fill_(~alive, 0.0)
    # An update may end at 0 by chance, but from here on zeros count as pruned: use the smallest number instead.
    weight.masked_fill_(alive & (weight == 0), torch.finfo(weight.dtype).tiny)
    return weight == 0


class KeepZeros(nn.Module):
    """A parametrization that multiplies by a fixed mask: zeros stay zero through every optimiser step."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=True)

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` with the masked entries zero."""
        return weight * self.mask
