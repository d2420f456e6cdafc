"""Which share of a row's tokens every encoder layer hands on: measured errors, and the best choice within a budget."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from clinlm.compression.costs import layer_multiplications
from clinlm.compression.observation import observing
from clinlm.models import structure
from clinlm.models.layers.token_pruning_encoder import kept_tokens
from clinlm.models.model import Network
from clinlm.models.surgery import prune_tokens
from clinlm.tasks.batches import Batch
from clinlm.text.long_notes import LongNotes
from clinlm.training.modules.base import document_logits

LEVELS = tuple(range(100, 0, -5))
"""Percentages of a row's tokens to choose from."""
MEASURED = (80, 60, 40, 20, 5)
"""Those at which errors are measured; between them they are interpolated."""
BUCKETS = 1000
"""Resolution of a budget; costs are rounded up, so that it always holds."""


@dataclass(frozen=True)
class TokenShares:
    """A choice.

    Attributes:
        percents: of a row's tokens that leave each layer, first layer first.
        errors: what each layer adds to the error of the logits, as estimated.
    """

    percents: list[int]
    errors: list[float]


@torch.no_grad()
def measure_errors(network: Network, batches: Sequence[Batch], long_notes: LongNotes) -> Float[np.ndarray, "layers _"]:
    """Return, for every layer and level, the error of the logits where this layer alone drops tokens for good.

    It is the mean squared difference from the logits with all tokens, over their variance, and grows with every level.
    Later layers see the tokens that are left, so that what only the dropped ones would have added is in the error.
    """
    layers = len(structure.layers(network.body))
    with observing(network, ()):
        whole = torch.cat([document_logits(network, batch, long_notes) for batch in batches])
        found = []
        for number in range(layers):
            errors = [0.0]
            for percent in MEASURED:
                pruned = copy.deepcopy(network)
                prune_tokens(pruned, [100] * number + [percent] * (layers - number))
                logits = torch.cat([document_logits(pruned, batch, long_notes) for batch in batches])
                errors.append(float((logits - whole).square().mean() / (whole.var() + 1e-12)))
            grown = np.maximum.accumulate(errors)
            found.append(np.interp([-level for level in LEVELS], [-100, *(-percent for percent in MEASURED)], grown))
    return np.stack(found)


def level_costs(network: Network, tokens: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "layers levels levels"]:
    """Return the multiplications in every layer over rows of so many tokens, by the levels that enter and leave it."""
    kept = [kept_tokens(tokens, level) for level in LEVELS]
    return np.array(
        [
            [[float(layer_multiplications(layer, before, after)) for after in kept] for before in kept]
            for layer in structure.layer_parts(network.body)
        ]
    )


def choose_shares(
    errors: Float[np.ndarray, "layers levels"], costs: Float[np.ndarray, "layers levels levels"], budget: float
) -> TokenShares | None:
    """Return the levels with the smallest sum of errors within a budget; among equals the cheapest.

    A layer that lowers the level adds what its error at the new level is larger than at the old one. By dynamic
    programming over layers, levels and costs.

    Args:
        errors: as `measure_errors` returns them.
        costs: as `level_costs` returns them.
        budget: of all layers together.

    Returns:
        None if even the lowest level costs more.
    """
    levels = range(errors.shape[1])
    spent = np.ceil(costs / budget * BUCKETS - 1e-9).astype(int)
    lost = np.full((len(levels), BUCKETS + 1), np.inf)
    lost[0, 0] = 0.0
    steps = []
    for own, need in zip(errors, spent, strict=True):
        after, chosen = np.full_like(lost, np.inf), np.zeros(lost.shape, dtype=int)
        for old in levels:
            for new in levels[old:]:
                cost = need[old, new]
                if cost > BUCKETS:
                    continue
                total = lost[old, : BUCKETS + 1 - cost] + own[new] - own[old]
                better = total < after[new, cost:]
                after[new, cost:][better], chosen[new, cost:][better] = total[better], old
        steps.append(chosen)
        lost = after
    place, level = np.unravel_index(int(lost.T.argmin()), lost.T.shape)
    return _traced(errors, spent, steps, int(level), int(place)) if np.isfinite(lost.min()) else None


def _traced(errors: np.ndarray, spent: np.ndarray, steps: Sequence[np.ndarray], level: int, place: int) -> TokenShares:
    percents, added = list[int](), list[float]()
    for own, need, chosen in zip(errors[::-1], spent[::-1], steps[::-1], strict=True):
        old = int(chosen[level, place])
        percents.append(LEVELS[level])
        added.append(float(own[level] - own[old]))
        level, place = old, place - int(need[old, level])
    return TokenShares(percents[::-1], added[::-1])
