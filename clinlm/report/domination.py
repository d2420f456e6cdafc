"""Which row of a table dominates which: as good in bytes, latency and quality, and better in one of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from clinlm.metrics.latency import by_processor_time
from clinlm.report.results import ModelResult

COMPARED = ("micro_f1", "macro_f1", "macro_auroc")
"""Metrics that count, besides bytes and latency from text."""


def dominance(
    values: Float[np.ndarray, "points objectives"], maximize: Sequence[bool]
) -> Bool[np.ndarray, "points others"]:
    """Return whether each point dominates each other: as good in every objective, better in one.

    A point with a NaN dominates nothing and is not dominated.

    Args:
        values: one line a point.
        maximize: for every objective whether more of it is better.
    """
    if values.shape[1] != len(maximize):
        raise ValueError(f"maximize must have one direction an objective, got {len(maximize)} for {values.shape[1]}")
    good = np.where(np.asarray(maximize, dtype=bool), values, -values)
    no_worse = (good[:, None] >= good[None]).all(axis=2)  # comparisons with NaN are false
    better = (good[:, None] > good[None]).any(axis=2)
    return np.asarray(no_worse & better, dtype=bool)


def with_domination(results: Sequence[ModelResult], metric: str) -> list[ModelResult]:
    """Return the results, each with the rows that dominate it: the best by `metric` first, of equal ones the smallest.

    By values on the split of the report; latency is processor time where other processes disturbed the clock. A metric
    that no row has (AUROC, of some taggers) is left out; a row without bytes, latency or one of the other metrics
    dominates nothing and is not dominated.
    """
    scores = np.array([[own.quality.get(name, math.nan) for name in COMPARED] for own in results], dtype=float)
    scores = scores.reshape(-1, len(COMPARED))
    scores = scores[:, ~np.isnan(scores).all(axis=0)]
    processor = by_processor_time([own.latency for own in results if own.latency is not None])
    costs = [[own.bytes or math.nan, _milliseconds(own, processor)] for own in results]
    values = np.hstack([np.array(costs, dtype=float).reshape(-1, 2), scores])
    above = dominance(values, [False, False, *[True] * scores.shape[1]])
    rank = [(-np.nan_to_num(own.quality.get(metric, math.nan), nan=-1), own.bytes) for own in results]
    order = sorted(range(len(results)), key=lambda place: rank[place])
    return [
        replace(own, dominated_by=tuple(results[other].name for other in order if above[other, place]))
        for place, own in enumerate(results)
    ]


def _milliseconds(result: ModelResult, processor: bool) -> float:
    """Return the median time of a note; of a cascade, which defers less than half of them, the mean."""
    latency = result.latency
    if latency is None:
        return math.nan
    if result.kind == "cascade":
        return math.nan if processor else latency.mean_ms
    own = latency.processor_ms if processor else latency.p50_ms
    return math.nan if own is None else own
