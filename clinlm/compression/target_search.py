"""Search for the most important architecture whose measured cost meets a target."""

import copy
import logging
import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from clinlm.compression.costs import Architecture
from clinlm.compression.cutting import prune_to, select_parts
from clinlm.compression.importance import Importance
from clinlm.compression.meters import Meter
from clinlm.compression.search import SearchResult, search, smallest_architecture
from clinlm.compression.target import Target
from clinlm.config.errors import ConfigError
from clinlm.models.model import Model

log = logging.getLogger(__name__)
_ATTEMPTS = 6
_NEAR = 0.97
"""A network that uses this share of its target is good enough."""


@dataclass(frozen=True)
class MeasuredResult:
    """An architecture that meets its target.

    Attributes:
        result: of the search.
        before: cost of the original network, measured next to it.
        after: its own measured cost.
    """

    result: SearchResult
    before: float
    after: float


def search_target(
    model: Model,
    meter: Meter,
    importance: Importance,
    often: Float[Tensor, " tokens"],
    target: Target,
    remaining: int,
) -> MeasuredResult:
    """Return the architecture whose measured cost comes nearest to the target without exceeding it.

    Where a measurement misses the target, the search is repeated with a corrected budget.

    Args:
        model: not changed.
        often: see `clinlm.compression.cutting.factorize_words`.
        remaining: see `Target.goal`.

    Raises:
        ConfigError: the network costs less than the target already, or none meets it.
    """
    target.check_below(meter.now)
    now = Architecture.read(model.network)
    budget = target.goal(meter.now, remaining) * meter.costs.total(now) / meter.now
    best: MeasuredResult | None = None
    nearest = 0.0  # share of the target that the best uses
    seen: list[Architecture] = []
    measured = math.inf
    for _ in range(_ATTEMPTS):
        found = search(now, importance, meter.costs, len(often), budget)
        if not found or found[0].architecture in seen:
            break
        seen.append(found[0].architecture)
        candidate = Model(model.spec, copy.deepcopy(model.network).eval(), model.tokenizer, list(model.edits))
        prune_to(candidate, select_parts(importance, now, found[0].architecture), often)
        before, measured = meter.measure(candidate)
        goal, predicted = target.goal(before, remaining), found[0].cost
        log.info("%s: predicted %.6g, measured %.6g, target %.6g", target.metric, predicted, measured, goal)
        if nearest < measured / goal <= 1:
            best, nearest = MeasuredResult(found[0], before, measured), measured / goal
        if nearest >= _NEAR:
            break
        budget = predicted * goal / measured * (1.0 if measured <= goal else 0.99)
    if best is None:
        least = smallest_architecture(now, importance, meter.costs, len(often))
        raise ConfigError(_unreachable(target, least.cost, measured))
    return best


def _unreachable(target: Target, least: float, measured: float) -> str:
    last = "" if math.isinf(measured) else f", the last network measured {measured:,.6g}"
    return (
        f"prune.target={target.metric}:{target.value:.6g} must be reachable: the smallest network (one layer with "
        f"one head and a few FFN units) costs about {least:,.6g}{last}; raise the target, or start with "
        "fewer tokens (prune=vocabulary) or a smaller student"
    )
