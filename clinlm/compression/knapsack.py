"""Widths that lose the least importance within a budget: a multiple-choice knapsack by dynamic programming."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

BUCKETS = 8000
"""Resolution of a budget; costs of blocks are rounded up, so that the budget always holds."""

Values = Float[np.ndarray, " choices"]


@dataclass(frozen=True)
class Options:
    """Possible widths of a block.

    Attributes:
        widths: numbers of heads or FFN units.
        costs: of each width, at least 0.
        lost: importance lost with each width, at least 0.
    """

    widths: Int[np.ndarray, " choices"]
    costs: Values
    lost: Values


@dataclass(frozen=True)
class LayerOptions:
    """Possible widths of a layer, which may also be removed.

    Attributes:
        kept: importance lost with any widths.
        dropped: importance lost if the layer is removed.
    """

    attention: Options
    ffn: Options
    kept: float
    dropped: float


def minimize_loss(
    layers: Sequence[LayerOptions], budget: float, buckets: int = BUCKETS
) -> tuple[float, list[tuple[int, int] | None]] | None:
    """Return the smallest loss of importance within a budget, and the widths of every layer (None if removed).

    At least one layer stays. Among equal choices the cheapest network, and in it the narrowest blocks of first layers.

    Args:
        layers: first layer first.
        budget: for all blocks together.
        buckets: costs are rounded up to multiples of budget / buckets.

    Returns:
        None if even the cheapest network costs more.
    """
    if budget <= 0:
        return None
    # Rows: no layer kept so far, or some. Columns: cost so far.
    lost = np.full((2, buckets + 1), np.inf)
    lost[0, 0] = 0.0
    steps = []
    for layer in layers:
        before = lost.min(0)
        attention, heads = _choose(before, layer.attention, budget / buckets)
        kept, units = _choose(attention, layer.ffn, budget / buckets)
        kept = kept + layer.kept
        drops = lost[1] + layer.dropped <= kept
        steps.append((lost.argmin(0), heads, units, drops))
        lost = np.stack([lost[0] + layer.dropped, np.where(drops, lost[1] + layer.dropped, kept)])
    best = int(lost[1].argmin())
    if not np.isfinite(lost[1, best]):
        return None
    return float(lost[1, best]), _traced(layers, steps, best, budget / buckets)


def _choose(
    before: Float[np.ndarray, " spent"], options: Options, bucket: float
) -> tuple[Float[np.ndarray, " spent"], Int[np.ndarray, " spent"]]:
    """Return the smallest loss for every cost so far, and the option chosen for it."""
    lost, chosen = np.full_like(before, np.inf), np.zeros(len(before), dtype=np.int64)
    for number, cost in enumerate(_buckets(options, bucket)):
        if cost < len(before):
            with_it = before[: len(before) - cost] + options.lost[number]
            better = with_it < lost[cost:]
            lost[cost:][better], chosen[cost:][better] = with_it[better], number
    return lost, chosen


def _buckets(options: Options, bucket: float) -> list[int]:
    # Tolerate rounding errors of the division.
    return [int(cost) for cost in np.ceil(options.costs / bucket - 1e-9)]


def _traced(
    layers: Sequence[LayerOptions], steps: Sequence[tuple[np.ndarray, ...]], spent: int, bucket: float
) -> list[tuple[int, int] | None]:
    row, found = 1, list[tuple[int, int] | None]()
    for layer, (rows, heads, units, drops) in zip(reversed(layers), reversed(steps), strict=True):
        if row == 0 or drops[spent]:
            found.append(None)
            continue
        unit = int(units[spent])
        spent -= _buckets(layer.ffn, bucket)[unit]
        head = int(heads[spent])
        spent -= _buckets(layer.attention, bucket)[head]
        row = int(rows[spent])
        found.append((int(layer.attention.widths[head]), int(layer.ffn.widths[unit])))
    return found[::-1]
