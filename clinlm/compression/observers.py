"""From what calibration saw of a layer's inputs to the range that its 256 levels cover: pure functions."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from clinlm.models.layers.rounding import LEVELS

Observer = Literal["minmax", "percentile", "entropy"]
BINS = 4096
"""Of a histogram from the smallest to the largest input: 16 times as many as there are levels, so that ranges down to a
16th of the whole can be judged by their entropy."""
_WINDOWS = 128  # ranges that are tried
_LITTLE = 1e-4  # what a bin that would be empty holds instead: nothing has no logarithm

Counts = Int[np.ndarray, " bins"]


def observe_range(
    observer: Observer, counts: Counts, low: float, high: float, percentile: float
) -> tuple[float, float]:
    """Return the range that `observer` chooses for inputs counted in equal bins from `low` to `high`."""
    if observer == "minmax" or low == high:
        return low, high
    if observer == "percentile":
        return percentile_range(counts, low, high, percentile)
    return entropy_range(counts, low, high)


def percentile_range(counts: Counts, low: float, high: float, percentile: float) -> tuple[float, float]:
    """Return a range outside of which lie at most (100 - `percentile`) per cent, half on either side, to whole bins.

    As ONNX Runtime's percentile calibration.

    Args:
        counts: inputs in equal bins from `low` to `high`.
        low, high: the smallest and the largest input.
        percentile: in (0, 100]; 100 cuts nothing.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    cut = (1 - percentile / 100) / 2 * counts.sum()
    # The most bins, from either end, that hold no more than may be cut.
    first = int(np.searchsorted(counts.cumsum(), cut, "right"))
    last = int(np.searchsorted(counts[::-1].cumsum(), cut, "right"))
    return float(edges[first]), float(edges[len(counts) - last])


def entropy_range(counts: Counts, low: float, high: float) -> tuple[float, float]:
    """Return the range, cut at the same distance from 0 on both sides, that loses the least information.

    Of 128 distances the one is chosen with the least `divergence` (Migacz 2017, "8-bit inference with TensorRT"; as
    ONNX Runtime's entropy calibration). Theirs are symmetric ranges; ours end where the inputs end, on either side.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    most = max(abs(low), abs(high))
    best = (np.inf, 0, len(counts))
    for distance in most * np.arange(_WINDOWS, 0, -1) / _WINDOWS:
        first = int(np.searchsorted(edges[1:], -distance, "right"))
        last = int(np.searchsorted(edges[:-1], distance, "left"))
        if last - first < LEVELS + 1:
            break
        best = min(best, (quantization_divergence(counts, first, last), first, last))
    return float(edges[best[1]]), float(edges[best[2]])


def quantization_divergence(counts: Counts, first: int, last: int, levels: int = LEVELS + 1) -> float:
    """Return KL(what there is || what `levels` levels can say of it), with the range cut to bins `first` to `last`.

    What there is: the bins of the range, what lies beyond added to its ends. What can be said: the bins of the range
    in `levels` groups, each spread evenly over those of its bins that are not empty.
    """
    inside: Float[np.ndarray, " inside"] = counts[first:last].astype(np.float64)
    there = inside.copy()
    there[0] += counts[:first].sum()
    there[-1] += counts[last:].sum()
    group = np.arange(len(inside)) * levels // len(inside)
    filled = there > 0
    share = np.bincount(group, inside, levels) / np.maximum(np.bincount(group, filled, levels), 1)
    said = np.where(filled, share[group], 0.0)
    if not said.any():
        return float("inf")
    p, q = _nowhere_empty(there), _nowhere_empty(said)
    return float((p * np.log(p / q)).sum())


def _nowhere_empty(bins: Float[np.ndarray, " inside"]) -> Float[np.ndarray, " inside"]:
    """The distribution of `bins`, with a little in each that is empty."""
    filled: Float[np.ndarray, " inside"] = np.where(bins > 0, bins / bins.sum(), _LITTLE / len(bins))
    filled /= filled.sum()
    return filled


def check_observer(observer: str, percentile: float) -> None:
    """Raise unless the observer is known and the percentile keeps something.

    Raises:
        ValueError: one of them is not.
    """
    if observer not in get_args(Observer):
        raise ValueError(f"quantize.observer is one of {get_args(Observer)}; got {observer!r}")
    if not 0 < percentile <= 100:
        raise ValueError(f"quantize.percentile is in (0, 100]; got {percentile}; 100 cuts nothing")
