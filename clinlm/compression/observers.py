"""Input ranges from histograms of calibration: pure functions."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from clinlm.config.ranges import check_choice, check_interval
from clinlm.models.layers.rounding import LEVELS

Observer = Literal["minmax", "percentile", "entropy"]
BINS = 4096
"""Bins of a histogram from the smallest to the largest input: 16 per level, so that entropy can compare ranges down to
a 16th of the whole."""
_WINDOWS = 128  # ranges that are tried
_LITTLE = 1e-4  # mass of an empty bin, whose logarithm would be infinite

Counts = Int[np.ndarray, " bins"]


def observe_range(
    observer: Observer, counts: Counts, low: float, high: float, percentile: float
) -> tuple[float, float]:
    """Return the range that `observer` selects, for a histogram of equal bins from `low` to `high`."""
    if observer == "minmax" or low == high:
        return low, high
    if observer == "percentile":
        return percentile_range(counts, low, high, percentile)
    return entropy_range(counts, low, high)


def percentile_range(counts: Counts, low: float, high: float, percentile: float) -> tuple[float, float]:
    """Return a range of whole bins outside of which lie at most (100 - `percentile`) per cent, half on either side.

    As ONNX Runtime's percentile calibration.

    Args:
        counts: histogram of equal bins from `low` to `high`.
        low, high: the smallest and the largest input.
        percentile: in (0, 100]; 100 clips nothing.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    cut = (1 - percentile / 100) / 2 * counts.sum()
    # As many bins from either end as may be clipped.
    first = int(np.searchsorted(counts.cumsum(), cut, "right"))
    last = int(np.searchsorted(counts[::-1].cumsum(), cut, "right"))
    return float(edges[first]), float(edges[len(counts) - last])


def entropy_range(counts: Counts, low: float, high: float) -> tuple[float, float]:
    """Return the range, clipped at the same distance from 0 on both sides, that loses the least information.

    Of 128 distances it takes the one with the smallest `quantization_divergence` (Migacz 2017, "8-bit inference with
    TensorRT"; as ONNX Runtime's entropy calibration). Theirs are symmetric ranges; ours end where the inputs end.
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
    """Return the KL divergence of a histogram from its quantisation to `levels`, clipped to bins `first` to `last`.

    The clipped histogram adds the inputs beyond the range to its ends. The quantised one has the bins of the range in
    `levels` groups, each spread evenly over its non-empty bins.
    """
    inside: Float[np.ndarray, " inside"] = counts[first:last].astype(np.float64)
    clipped = inside.copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[last:].sum()
    group = np.arange(len(inside)) * levels // len(inside)
    filled = clipped > 0
    share = np.bincount(group, inside, levels) / np.maximum(np.bincount(group, filled, levels), 1)
    quantized = np.where(filled, share[group], 0.0)
    if not quantized.any():
        return float("inf")
    p, q = _smoothed(clipped), _smoothed(quantized)
    return float((p * np.log(p / q)).sum())


def _smoothed(bins: Float[np.ndarray, " inside"]) -> Float[np.ndarray, " inside"]:
    """Return the distribution of `bins`, with a little mass in empty ones."""
    filled: Float[np.ndarray, " inside"] = np.where(bins > 0, bins / bins.sum(), _LITTLE / len(bins))
    filled /= filled.sum()
    return filled


def check_observer(observer: str, percentile: float) -> None:
    """Raise ConfigError for an unknown observer, or a percentile that is not in (0, 100]."""
    check_choice("quantize.observer", observer, get_args(Observer))
    check_interval("quantize.percentile", percentile, "(0, 100]", "100 clips nothing")
