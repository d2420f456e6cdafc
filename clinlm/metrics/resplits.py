"""Means over several splits of one corpus, with intervals over splits and documents.

A split is drawn, a model trained, and its test documents predicted; this is repeated. Two things vary: which documents
there are, and how they were split (with what training made of it). A resample draws both: groups of documents once for
the whole corpus, so that a group has the same weight in every split in whose test it is, and splits with replacement.

Limits: training sets of two splits share most documents, so that splits are no independent repetitions, and what all of
them share (an easy corpus) varies in no resample: intervals are about this corpus (Nadeau & Bengio 2003, Machine
Learning 52:239, Bengio & Grandvalet 2004). From few splits their spread is underestimated, by (k - 1) / k in variance;
noise of the test documents is counted twice, which makes up for part of it. `corrected_interval` is a check by other
means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, final

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped
from scipy.special import stdtrit

from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights

SplitValues = Float[np.ndarray, "splits resamples"]
"""A metric of every split on the documents as they are (first column), then on every resample; NaN where undefined."""


@final
@dataclass(frozen=True)
class SplitSpread:
    """How a result varies over splits.

    Attributes:
        seeds: `task.seed` of every split of the table.
        found: how many of them have the result; others failed their gate, say.
        values: metric -> its value on every split, in the order of `seeds`; NaN where the split has none.
        changes: metric -> own minus reference on every split; empty for a reference.
        better: metric -> splits on which it is above its reference; empty for a reference.
        corrected: metric -> mean with `corrected_interval`.
        corrected_changes: metric -> mean difference to the reference with `corrected_interval`; empty for a reference.
    """

    seeds: tuple[int, ...]
    found: int
    values: dict[str, tuple[float, ...]]
    changes: dict[str, tuple[float, ...]]
    better: dict[str, int]
    corrected: dict[str, Interval]
    corrected_changes: dict[str, Interval]

    def ends(self, metric: str) -> tuple[float, float]:
        """Return the least and the greatest value over splits; NaN where it is undefined on all."""
        known = [value for value in self.values.get(metric, ()) if not math.isnan(value)]
        return min(known, default=math.nan), max(known, default=math.nan)


@final
@dataclass(frozen=True)
class TwoLevelDraws:
    """Resamples of the groups of a corpus, and of its splits.

    Attributes:
        names: of the groups that are in the test of some split, sorted.
        groups: how often each resample holds each of them.
        splits: how often each resample holds each split.
    """

    names: Shaped[np.ndarray, " groups"]
    groups: Integer[np.ndarray, "resamples groups"]
    splits: Int[np.ndarray, "resamples splits"]

    @classmethod
    def of(cls, tested: Sequence[Shaped[np.ndarray, " _"]], resamples: int, seed: int) -> Self:
        """Draw.

        Args:
            tested: for every split the group of each of its test documents.
            resamples: how many, >= 1.
        """
        names, count = np.unique(np.concatenate(tested)), len(tested)
        random = np.random.default_rng(seed)
        groups = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        splits = random.multinomial(count, np.full(count, 1 / count), size=resamples)
        return cls(names, groups.astype(np.int32), splits)

    def weights(self, groups: Groups) -> Weights:
        """Return a row of ones, then one a resample: how often it holds each document of a split, by its group."""
        place = np.searchsorted(self.names, groups)
        return np.vstack([np.ones(len(groups)), self.groups[:, place].astype(np.float64)])

    def mean(self, values: SplitValues) -> Values:
        """Return the mean over splits as they are, then over those that each resample drew.

        Splits on which a value is undefined are left out of its mean; NaN where it is undefined on all.
        """
        counts = np.vstack([np.ones(len(values)), self.splits]).T * ~np.isnan(values)
        total, whole = (counts * np.nan_to_num(values)).sum(axis=0), counts.sum(axis=0)
        return np.asarray(np.divide(total, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def corrected_interval(values: Float[np.ndarray, " splits"], tested: int, trained: int) -> Interval:
    """Return the mean over splits with the 95 % interval of the corrected resampled t-test.

    The variance of the mean of k splits is taken as (1 / k + tested / trained) s², with t of k - 1 degrees of freedom:
    the second term stands for the correlation that overlapping training sets cause (Nadeau & Bengio 2003, section 4).

    Args:
        values: of every split; NaN are left out. Of fewer than two, there is no interval.
        tested: test documents of a split.
        trained: its training documents, >= 1.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return Interval(float(known.mean()) if len(known) else math.nan, math.nan, math.nan)
    mean, count = float(known.mean()), len(known)
    half = float(stdtrit(count - 1, 0.975)) * math.sqrt((1 / count + tested / trained) * float(known.var(ddof=1)))
    return Interval(mean, mean - half, mean + half)


def summarised(
    own: Mapping[str, SplitValues],
    reference: Mapping[str, SplitValues] | None,
    seeds: Sequence[int],
    sizes: tuple[int, int],
) -> SplitSpread:
    """Return how a result varies over splits.

    Args:
        own: its metrics.
        reference: those of its reference, on the same splits and resamples; None for a reference itself.
        sizes: test and training documents of a split, on average.
    """
    values = {name: each[:, 0] for name, each in own.items()}
    changes = {} if reference is None else {name: each - reference[name][:, 0] for name, each in values.items()}
    return SplitSpread(
        tuple(seeds),
        int((~np.isnan(np.stack([*values.values()]))).any(axis=0).sum()),
        {name: tuple(each.tolist()) for name, each in values.items()},
        {name: tuple(each.tolist()) for name, each in changes.items()},
        {name: int((each > 0).sum()) for name, each in changes.items()},
        {name: corrected_interval(each, *sizes) for name, each in values.items()},
        {name: corrected_interval(each, *sizes) for name, each in changes.items()},
    )
