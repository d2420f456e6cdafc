"""Confidence intervals and differences by bootstrap over documents or over whole groups (patients).

A resample is a row of weights: how often it holds each document. So a metric of all resamples is one product of weights
and counts, and the documents as they are become the first row, of ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self, final

import numpy as np
from jaxtyping import Float, Shaped

from clinlm.config.errors import ConfigError

Groups = Shaped[np.ndarray, " documents"]
Weights = Float[np.ndarray, "resamples documents"]
"""Whole numbers >= 0: how often each resample holds each document."""
Values = Float[np.ndarray, " resamples"]
_KEPT_CELLS: Final = 10_000_000
"""Resamples x documents that are kept to be used again: 80 MB; larger ones are drawn every time."""

WeightedMetrics = Callable[[Weights], dict[str, Values]]
"""Maps weights to every metric of every resample."""


@final
@dataclass(frozen=True)
class Interval:
    """A number with its 95 % bootstrap interval, in the metric's unit; NaN where it is undefined.

    Attributes:
        value: on the documents as they are.
        p: of a difference, the two-sided bootstrap p of "no difference", in (0, 1]; NaN for other numbers.
    """

    value: float
    low: float
    high: float
    p: float = math.nan

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def percentile(cls, values: Values) -> Self:
        """Return the percentile interval: the 2.5th and 97.5th percentile of the resamples.

        Args:
            values: first on the documents as they are, then one a resample; NaN where undefined, and then left out.
        """
        drawn = values[1:][~np.isnan(values[1:])]
        if np.isnan(values[0]) or not len(drawn):
            return cls(float(values[0]), math.nan, math.nan)
        low, high = np.percentile(drawn, (2.5, 97.5))
        return cls(float(values[0]), float(low), float(high))

    @classmethod
    def difference(cls, values: Values) -> Self:
        """Return the percentile interval of a difference, with p.

        p = min(1, 2 (1 + min(n<=, n>=)) / (1 + n)): n resamples, n<= of them with a difference <= 0, n>= with one >= 0.
        It inverts the percentile interval: p is about .05 where the interval just excludes 0. The 1 counts the
        data themselves (Davison & Hinkley 1997, section 4.2), so p is never 0: at least 2 / (1 + n).

        Args:
            values: as in `percentile`.
        """
        found = cls.percentile(values)
        if math.isnan(found.low):
            return cls(math.nan, math.nan, math.nan)
        drawn = values[1:][~np.isnan(values[1:])]
        beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        return cls(found.value, found.low, found.high, min(1.0, 2 * (1 + beyond) / (1 + len(drawn))))

    @classmethod
    def cautious(cls, values: Values, least: float = 0.0) -> Self:
        """Return an interval for a number that noise pushes up, or for a difference of two of them.

        Examples are a gap between best and worst, or a sum of absolute differences. A resample adds its noise to that
        of the documents, so resamples are biased upwards, and the percentile interval never contains a true 0. The
        basic interval, value - (resample - value) (Davison & Hinkley 1997, section 5.2), is biased downwards as much.
        The farther of both is taken at either end: in simulations of gaps of 2 to 4 subgroups, coverage was never below
        95 %.

        Args:
            values: as in `percentile`.
            least: lowest value that the number can have.
        """
        found = cls.percentile(values)
        if math.isnan(found.low):
            return found
        low, high, twice = found.low, found.high, 2 * found.value
        return cls(found.value, max(least, min(low, twice - high)), max(high, twice - low))


def draw(documents: int, resamples: int, seed: int, groups: Groups | None = None) -> Weights:
    """Draw resamples: as many draws with replacement as there are documents (or groups).

    Args:
        documents: how many.
        resamples: how many, >= 1; of 1000 the ends of an interval vary by about 2 % of its width (one s.d.).
        groups: of each document. Whole groups are then drawn (cluster bootstrap): notes of one patient resemble each
            other, and drawing them one by one would make the interval too narrow.

    Raises:
        ValueError: no documents or resamples, or not one group a document.
    """
    if documents < 1 or resamples < 1:
        raise ConfigError(f"a bootstrap needs documents and resamples, got {documents} and {resamples}")
    if groups is not None and groups.shape != (documents,):
        raise ValueError(f"groups must be one a document, got {groups.shape} for {documents} documents")
    member = np.arange(documents) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(member.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    return drawn[:, member].astype(np.float64)


def resample(documents: int, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> Weights:
    """Return a row of ones, the documents as they are, and below it the resamples of `draw` (same arguments).

    It is read-only: metrics of one comparison ask for the same resamples again and again, which are drawn once.
    """
    drawn = _resampled if documents * resamples <= _KEPT_CELLS else _resampled.__wrapped__
    return drawn(documents, resamples, seed, None if groups is None else tuple(groups.tolist()))


@lru_cache(maxsize=4)
def _resampled(documents: int, resamples: int, seed: int, groups: tuple[Any, ...] | None) -> Weights:
    drawn = draw(documents, resamples, seed, None if groups is None else np.asarray(groups))
    found = np.vstack([np.ones(documents), drawn])
    found.flags.writeable = False
    return found


def intervals(
    metrics: WeightedMetrics, documents: int, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> dict[str, Interval]:
    """Return a 95 % interval for every metric: the spread of drawing other test documents for the same model.

    Resamples in which a metric is undefined (no positive of any label, say) are left out of its percentiles.

    Args:
        documents, resamples, seed, groups: see `draw`.
    """
    values = metrics(resample(documents, resamples, seed, groups))
    return {name: Interval.percentile(each) for name, each in values.items()}


def differences(
    a: WeightedMetrics,
    b: WeightedMetrics,
    documents: int,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, Interval]:
    """Return the difference b - a of every metric, both models on the same documents and the same resamples.

    Args:
        a: metrics of the reference.
        b: metrics of the model compared with it.
        documents, resamples, seed, groups: see `draw`.
    """
    weights = resample(documents, resamples, seed, groups)
    theirs, ours = a(weights), b(weights)
    return {name: Interval.difference(ours[name] - theirs[name]) for name in theirs}


def unpaired_differences(
    a: WeightedMetrics,
    b: WeightedMetrics,
    documents: tuple[int, int],
    resamples: int = 1000,
    seed: int = 0,
    groups: tuple[Groups | None, Shaped[np.ndarray, " others"] | None] = (None, None),
) -> dict[str, Interval]:
    """Return the difference b - a of every metric, where `b` is of other documents than `a`: each is drawn apart.

    Args:
        a, b: see `differences`; each of its own documents.
        documents: how many of `a`, and of `b`.
        resamples: see `draw`.
        seed: of the draw for `a`; `b` has the next one.
        groups: of each, see `draw`.
    """
    theirs, ours = (
        metrics(resample(count, resamples, own, each))
        for metrics, count, own, each in zip((a, b), documents, (seed, seed + 1), groups, strict=True)
    )
    return {name: Interval.difference(ours[name] - theirs[name]) for name in theirs}
