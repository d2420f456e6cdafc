"""Selection of the parts to keep, given their scores: pure functions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def top_indices(scores: Float[Tensor, " parts"], count: int) -> list[int]:
    """Return the indices of the `count` largest scores, ascending; among equals the first."""
    return sorted(torch.argsort(scores, descending=True, stable=True)[:count].tolist())


def keep_best(scores: Float[Tensor, " parts"], ratio: float) -> list[int]:
    """Return the parts to keep, ascending: all but the share `ratio`, at least one; among equals the first."""
    return top_indices(scores, max(1, len(scores) - round(ratio * len(scores))))


def keep_best_overall(scores: Sequence[Float[Tensor, " _"]], ratio: float) -> list[list[int]]:
    """Return the parts to keep in every group, ascending: all but the share `ratio` of all, at least one per group.

    Among equals the first are kept.
    """
    kept = [set(range(len(group))) for group in scores]
    order = sorted((float(score), -g, -part) for g, group in enumerate(scores) for part, score in enumerate(group))
    left = round(ratio * len(order))
    for _, g, part in order:
        if left and len(kept[-g]) > 1:
            kept[-g].remove(-part)
            left -= 1
    return [sorted(group) for group in kept]


def keep_by_cost(scores: Sequence[Float[Tensor, " _"]], costs: Sequence[float], ratio: float) -> list[list[int]]:
    """Return the parts to keep in every group, ascending: those of the highest scores for their cost.

    Parts are removed, lowest score for its cost first, until the share `ratio` of all costs is gone or no further part
    fits into it; at least one part of every group stays. Among equals the first are kept.

    Args:
        costs: of one part of each group.
    """
    kept = [set(range(len(group))) for group in scores]
    order = sorted(
        (float(score) / cost, -g, -part)
        for g, (group, cost) in enumerate(zip(scores, costs, strict=True))
        for part, score in enumerate(group)
    )
    left = ratio * sum(cost * len(group) for group, cost in zip(scores, costs, strict=True))
    for _, g, part in order:
        if costs[-g] <= left * (1 + 1e-9) and len(kept[-g]) > 1:
            kept[-g].remove(-part)
            left -= costs[-g]
    return [sorted(group) for group in kept]
