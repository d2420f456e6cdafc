"""Latency of the parts of an encoder, from timed probes: small networks that differ in one width at a time.

It is the network's share of a latency, from token ids to logits: tokenising costs the same whatever is pruned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.isotonic import isotonic_regression

from clinlm.compression.costs import Architecture, CostModel

Timer = Callable[[Sequence[Architecture]], Sequence[float]]
"""From architectures to milliseconds of networks with these widths, timed in turns."""

LAYERS = 3
"""Layers of a probe: more layers reduce the error of a single timing."""
_HIDDEN = (1 / 8, 1 / 2, 1)
_PARTS = (1 / 3, 2 / 3, 1)
"""Shares of the widths at which probes are timed; costs between them are interpolated linearly."""

Grid = Float[np.ndarray, "hidden widths"]


@dataclass(frozen=True)
class Knots:
    """Widths that are timed, each ascending."""

    hidden: Sequence[int]
    heads: Sequence[int]
    units: Sequence[int]

    @classmethod
    def of(cls, hidden: int, heads: int, units: int, fewest: int) -> "Knots":
        """Return the knots from one head and the fewest units up to the widths of a network."""

        def parts(most: int, shares: Sequence[float], least: int) -> list[int]:
            return sorted({least, *(max(least, round(most * share)) for share in shares)})

        return cls(
            parts(hidden, _HIDDEN, max(1, round(hidden / 8))), parts(heads, _PARTS, 1), parts(units, _PARTS, fewest)
        )


class LatencyTable(CostModel):
    """Milliseconds by widths, interpolated linearly between timed ones.

    Args:
        base: milliseconds of everything but the layers, for every hidden size.
        factors: additional milliseconds of factorised embeddings.
        attention: for every hidden size and number of heads.
        ffn: for every hidden size and number of units.
    """

    def __init__(
        self,
        knots: Knots,
        base: Float[np.ndarray, " hidden"],
        factors: Float[np.ndarray, " hidden"],
        attention: Float[np.ndarray, "hidden heads"],
        ffn: Float[np.ndarray, "hidden units"],
    ) -> None:
        self.knots, self.base, self.factors = knots, monotone(base), monotone(factors)
        self._attention, self._ffn = monotone_surface(attention), monotone_surface(ffn)

    def fixed(self, hidden: int, rank: int | None) -> float:
        factors = 0.0 if rank is None else float(np.interp(hidden, self.knots.hidden, self.factors))
        return float(np.interp(hidden, self.knots.hidden, self.base)) + factors

    def attention(self, hidden: int, heads: int) -> float:
        return _between(hidden, heads, self.knots.hidden, self.knots.heads, self._attention)

    def ffn(self, hidden: int, units: int) -> float:
        return _between(hidden, units, self.knots.hidden, self.knots.units, self._ffn)


def measure_table(knots: Knots, rank: int, timer: Timer) -> LatencyTable:
    """Return the table of timed probes.

    For every hidden size: one head and the fewest units, with one layer and with several; then every other width by
    itself; and factorised embeddings. The time of a layer of the smallest widths is divided equally between attention
    and FFN, which no choice of widths can separate.

    Args:
        rank: of the factorised embeddings.
    """
    base, factors, attention, ffn = [], [], [], []
    few = knots.units[0]
    for hidden in knots.hidden:
        probes = [
            Architecture(hidden, None, [(1, few)]),
            Architecture(hidden, rank, [(1, few)]),
            Architecture(hidden, None, [(1, few)] * LAYERS),
            *(Architecture(hidden, None, [(heads, few)] * LAYERS) for heads in knots.heads[1:]),
            *(Architecture(hidden, None, [(1, units)] * LAYERS) for units in knots.units[1:]),
        ]
        single, factorised, several, *wide = timer(probes)
        layer = max(0.0, (several - single) / (LAYERS - 1))
        base.append(max(0.0, single - layer))
        factors.append(max(0.0, factorised - single))
        grown = layer / 2 + (np.array([several, *wide]) - several) / LAYERS
        attention.append(grown[: len(knots.heads)])
        ffn.append(np.array([layer / 2, *grown[len(knots.heads) :]]))
    return LatencyTable(knots, np.array(base), np.array(factors), np.array(attention), np.array(ffn))


def monotone(values: Float[np.ndarray, " knots"]) -> Float[np.ndarray, " knots"]:
    """Return the nearest values that never decrease and are not negative: a wider network takes no less time."""
    nearest: Float[np.ndarray, " knots"] = isotonic_regression(np.asarray(values, dtype=np.float64), y_min=0.0)
    return nearest


def monotone_surface(values: Grid) -> Grid:
    """Return values near these that decrease in neither direction."""
    along = np.stack([monotone(row) for row in values])
    # Means of non-decreasing rows do not decrease, so the second pass keeps the order of the first.
    return np.stack([monotone(column) for column in along.T]).T


def _between(hidden: int, width: int, hiddens: Sequence[int], widths: Sequence[int], values: Grid) -> float:
    rows = [float(np.interp(width, widths, row)) for row in values]
    return float(np.interp(hidden, hiddens, rows))
