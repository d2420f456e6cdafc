"""The models that no other beats in everything."""

import math
from collections.abc import Sequence
from itertools import count

import numpy as np
from jaxtyping import Bool, Float

from clinlm.report.domination import dominance
from clinlm.report.results import ModelResult


def front(values: Float[np.ndarray, "points objectives"], maximize: Sequence[bool]) -> Bool[np.ndarray, " points"]:
    """Return whether each point is on the Pareto front: no other is as good in every objective and better in one.

    Equal points are kept together; a point with a NaN is off the front and dominates nothing.

    Args:
        values: one line a point.
        maximize: for every objective whether more of it is better.
    """
    dominated = dominance(values, maximize).any(axis=0)
    return np.asarray(~np.isnan(values).any(axis=1) & ~dominated, dtype=bool)


def pareto_objectives(results: Sequence[ModelResult], metric: str) -> Float[np.ndarray, "points 3"]:
    """Return quality on validation, bytes and median latency in ms of every result; NaN where not measured."""
    rows = [
        (result.validation.get(metric, math.nan), result.bytes, math.nan if result.p50_ms is None else result.p50_ms)
        for result in results
    ]
    return np.array(rows, dtype=float).reshape(-1, 3)


def numbered(results: Sequence[ModelResult], metric: str) -> dict[int, int]:
    """Return, for every model of the front, by its place in `results`, its number: 1 has the best quality."""
    values = pareto_objectives(results, metric)
    places = np.flatnonzero(front(values, (True, False, False))).tolist()
    ordered = sorted(places, key=lambda place: (-values[place, 0], values[place, 1]))
    return dict(zip(ordered, count(1), strict=False))
