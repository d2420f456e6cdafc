"""Search for the widths of a network: hidden size and embedding rank by enumeration, all others by a knapsack."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clinlm.compression.costs import Architecture, CostModel
from clinlm.compression.importance import Importance
from clinlm.compression.knapsack import LayerOptions, Options, minimize_loss
from clinlm.compression.selection import top_indices

HIDDEN = (1, 7 / 8, 3 / 4, 5 / 8, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8)
RANKS = (3 / 4, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 3 / 32, 1 / 16)
"""Shares of the hidden size, and of the width of the embeddings, to try."""
WIDTHS = 64
"""Number of FFN widths to try, about evenly spaced."""
FEWEST_UNITS = 4
_ROUND = 8
"""Processors compute in vectors: a hidden size or rank of 100 is no faster than one of 104."""


@dataclass(frozen=True)
class SearchResult:
    """An architecture that a search found."""

    architecture: Architecture
    lost: float
    cost: float


def grid_sizes(size: int, parts: Sequence[float]) -> list[int]:
    """Return these shares of `size`, as multiples of 8 if it is large enough, without repetition, the largest first."""
    step = _ROUND if size >= 8 * _ROUND else 1
    found = {max(step, round(part * size / step) * step) if part < 1 else size for part in parts}
    return sorted((share for share in found if share <= size), reverse=True)


def candidate_sizes(now: Architecture, importance: Importance, tokens: int) -> list[tuple[int, int | None]]:
    """Return the hidden sizes and ranks to try, the largest first; ranks only where they make the table smaller.

    Args:
        tokens: size of the vocabulary.
    """
    width, found = len(importance.words), list[tuple[int, int | None]]()
    separate = width != now.hidden  # embeddings with a width of their own
    for hidden in grid_sizes(now.hidden, HIDDEN):
        wide = width if separate else hidden
        if now.rank is None:
            ranks: list[int | None] = [
                None,
                *(k for k in grid_sizes(width, RANKS) if k * (tokens + wide) < tokens * wide),
            ]
        else:
            most = min(now.rank, wide)
            ranks = [most, *(k for k in grid_sizes(width, RANKS) if k < most)]
        found += [(hidden, rank) for rank in ranks]
    return found


def search(
    now: Architecture, importance: Importance, costs: CostModel, tokens: int, budget: float, most: int = 1
) -> list[SearchResult]:
    """Return the best architecture within a budget for every hidden size and rank, best first.

    Args:
        tokens: size of the vocabulary.
        budget: in the unit of `costs`.
        most: number of results.

    Returns:
        an empty list if even the smallest architecture costs more.
    """
    found, options = [], dict[int, list[LayerOptions]]()
    for hidden, rank in candidate_sizes(now, importance, tokens):
        if hidden not in options:
            options[hidden] = layer_options(importance, costs, hidden)
        best = minimize_loss(options[hidden], budget - costs.fixed(hidden, rank))
        if best is not None:
            architecture = Architecture(hidden, rank, best[1])
            lost = best[0] + embedding_loss(importance, hidden, rank)
            found.append(SearchResult(architecture, lost, costs.total(architecture)))
    return sorted(found, key=lambda result: result.lost)[:most]


def smallest_architecture(now: Architecture, importance: Importance, costs: CostModel, tokens: int) -> SearchResult:
    """Return the cheapest architecture that the search can find: one layer with one head and a few units."""
    few = min(min_units(len(units)) for units in importance.units)
    tried = [Architecture(hidden, rank, [(1, few)]) for hidden, rank in candidate_sizes(now, importance, tokens)]
    return min((SearchResult(widths, 0.0, costs.total(widths)) for widths in tried), key=lambda result: result.cost)


def min_units(units: int) -> int:
    """Return the smallest number of FFN units of a layer."""
    return min(FEWEST_UNITS, units)


def top_dimensions(importance: Importance, hidden: int) -> list[int]:
    """Return the hidden dimensions to keep, ascending: the most important over all places, among equals the first."""
    return top_indices(importance.hidden.sum(0), hidden)


def embedding_loss(importance: Importance, hidden: int, rank: int | None) -> float:
    """Return the importance lost in the embeddings: of the first hidden state, and of directions beyond the rank."""
    gone = importance.hidden[0].double().sum() - importance.hidden[0, top_dimensions(importance, hidden)].double().sum()
    return float(gone + (0.0 if rank is None else importance.words[rank:].double().sum()))


def layer_options(importance: Importance, costs: CostModel, hidden: int) -> list[LayerOptions]:
    """Return the options of every layer at a hidden size."""
    stay = top_dimensions(importance, hidden)
    gone = importance.hidden.double().sum(1) - importance.hidden[:, stay].double().sum(1)
    found = []
    for number, (heads, units) in enumerate(zip(importance.heads, importance.units, strict=True)):
        few = min_units(len(units))
        step = max(1, (len(units) - few) // WIDTHS)
        widths = np.array(sorted({len(units), *range(few, len(units), step)}))
        attention = _options(
            heads, np.arange(1, len(heads) + 1), [costs.attention(hidden, n + 1) for n in range(len(heads))]
        )
        ffn = _options(units, widths, [costs.ffn(hidden, int(width)) for width in widths])
        found.append(
            LayerOptions(
                attention,
                ffn,
                float(gone[2 * number + 1] + gone[2 * number + 2]),
                float(heads.double().sum() + units.double().sum()),
            )
        )
    return found


def _options(scores: Float[Tensor, " parts"], widths: np.ndarray, costs: Sequence[float]) -> Options:
    ranked = np.sort(scores.double().numpy())
    # Sums of the least important parts, as many as are removed.
    tails = np.concatenate([[0.0], np.cumsum(ranked)])[len(ranked) - widths]
    return Options(widths, np.array(costs, dtype=np.float64), tails)
