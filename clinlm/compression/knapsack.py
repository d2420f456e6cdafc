"""Which widths lose least for a budget: a knapsack with a choice in every block, solved by dynamic programming."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

BUCKETS = 8000
"""Parts of a budget; the cost of a block is rounded up to whole ones, so that a budget always holds."""

Values = Float[np.ndarray, " choices"]


@dataclass(frozen=True)
class Options:
    """The widths that a block may have.

    Attributes:
        widths: heads or FFN units that stay.
        costs: of each, at least 0.
        lost: importance lost with each, at least 0.
    """

    widths: Int[np.ndarray, " choices"]
    costs: Values
    lost: Values


@dataclass(frozen=True)
class LayerOptions:
    """What may become of a layer: a width of its attention and one of its FFN, or nothing at all is left of it.

    Attributes:
        attention, ffn: the widths.
        kept: importance lost whatever the widths.
        dropped: importance lost with the layer.
    """

    attention: Options
    ffn: Options
    kept: float
    dropped: float


def minimize_loss(
    layers: Sequence[LayerOptions], budget: float, buckets: int = BUCKETS
) -> tuple[float, list[tuple[int, int] | None]] | None:
    """Return the least importance lost within a budget, and the widths of every layer (None where it is dropped).

    At least one layer stays. Of equal choices the cheapest network, and in it the narrowest blocks, first layers first.

    Args:
        layers: first layer first.
        budget: for all blocks together.
        buckets: what the budget is divided into: costs are rounded up to multiples of budget / buckets.

    Returns:
        None where even the cheapest network costs more.
    """
    if budget <= 0:
        return None
    # Rows: no layer is left so far, or some are. Columns: what has been spent.
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
    """Return the least lost for every sum spent, and which option was chosen for it."""
    lost, chosen = np.full_like(before, np.inf), np.zeros(len(before), dtype=np.int64)
    for number, cost in enumerate(_buckets(options, bucket)):
        if cost < len(before):
            with_it = before[: len(before) - cost] + options.lost[number]
            better = with_it < lost[cost:]
            lost[cost:][better], chosen[cost:][better] = with_it[better], number
    return lost, chosen


def _buckets(options: Options, bucket: float) -> list[int]:
    # What rounding errors of a division add is no cost.
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
