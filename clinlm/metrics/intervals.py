"""Confidence intervals and paired differences by bootstrap over documents or over whole groups (patients)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from clinlm.metrics.classification import Probabilities, Targets, Thresholds
from clinlm.metrics.weighted import Values, Weights, weighted_quality

Groups = Shaped[np.ndarray, " documents"]
Weigh = Callable[[Weights], dict[str, Values]]
"""From how often each resample holds each document to every metric of every resample."""


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile bootstrap interval, in the metric's unit.

    Attributes:
        low: 2.5th percentile of the resamples.
        high: 97.5th percentile.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference b - a on the same documents.

    Attributes:
        value: on the documents as they are.
        low: 2.5th percentile of the difference over the resamples.
        high: 97.5th percentile.
        p: two-sided bootstrap p of "no difference", in (0, 1]; see `paired`.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def intervals(
    targets: Targets,
    probabilities: Probabilities,
    thresholds: Thresholds,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, Interval]:
    """A 95 % interval for every metric of `quality()`.

    The spread is that of drawing other test documents; the model and its thresholds stay as they are. Resamples in
    which a ranking metric is undefined (no positive of any label) are left out of its percentiles.

    Args:
        targets: as in `quality`.
        probabilities: as in `quality`.
        thresholds: as in `quality`.
        resamples: how many, >= 1; of 1000 the ends vary by about 2 % of the width (one s.d.).
        seed: of the draw.
        groups: of each document. Whole groups are then drawn (cluster bootstrap): notes of one patient resemble each
            other, and drawing them one by one would make the interval too narrow.

    Returns:
        An interval per metric; both ends NaN where the metric is undefined in every resample.

    Raises:
        ValueError: as in `quality`; or `resamples` or `groups` do not fit.
    """
    return spreads(
        lambda weights: weighted_quality(targets, probabilities, thresholds, weights),
        len(targets),
        resamples,
        seed,
        groups,
    )


def spreads(
    weigh: Weigh, documents: int, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> dict[str, Interval]:
    """A 95 % interval for every metric of `weigh`; the rest as `intervals`."""
    values = weigh(draw(documents, resamples, seed, groups))
    return {name: Interval(*_ends(each)) for name, each in values.items()}


def paired(
    targets: Targets,
    a_probabilities: Probabilities,
    a_thresholds: Thresholds,
    b_probabilities: Probabilities,
    b_thresholds: Thresholds,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, Difference]:
    """The difference b - a of every metric of `quality()`, both models on the same documents and the same resamples.

    p = min(1, 2 (1 + min(n<=, n>=)) / (1 + n)): n resamples, n<= of them with a difference <= 0, n>= with one >= 0. It
    turns the percentile interval round: p falls to about .05 where the interval just excludes 0. The 1 stands for the
    data as they are (Davison & Hinkley 1997, section 4.2), so p is never 0: its least value is 2 / (1 + n).

    Args:
        targets: as in `quality`.
        a_probabilities: of the reference.
        a_thresholds: of the reference.
        b_probabilities: of the model compared with it.
        b_thresholds: of the model compared with it.
        resamples: as in `intervals`.
        seed: as in `intervals`.
        groups: as in `intervals`.

    Returns:
        A difference per metric; NaN throughout where the metric is undefined.

    Raises:
        ValueError: as in `intervals`.
    """
    return differences(
        lambda weights: weighted_quality(targets, a_probabilities, a_thresholds, weights),
        lambda weights: weighted_quality(targets, b_probabilities, b_thresholds, weights),
        len(targets),
        resamples,
        seed,
        groups,
    )


def differences(
    a: Weigh, b: Weigh, documents: int, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> dict[str, Difference]:
    """The difference b - a of every metric that both tell, on the same resamples; the rest as `paired`."""
    # The first row is the documents as they are.
    weights = np.vstack([np.ones(documents), draw(documents, resamples, seed, groups)])
    theirs, ours = a(weights), b(weights)
    return {name: _difference(ours[name] - theirs[name]) for name in theirs}


def unpaired(
    a: Weigh,
    b: Weigh,
    documents: tuple[int, int],
    resamples: int = 1000,
    seed: int = 0,
    groups: tuple[Groups | None, Shaped[np.ndarray, " others"] | None] = (None, None),
) -> dict[str, Difference]:
    """The difference b - a of every metric that both tell, where `b` is of other documents than `a`: drawn apart.

    Args:
        a, b: see `differences`; each of its own documents.
        documents: how many of `a`, and of `b`.
        resamples: as in `paired`.
        seed: of the draw for `a`; `b` has the next one.
        groups: as in `paired`, of each.
    """
    pairs = zip(documents, (seed, seed + 1), groups, strict=True)
    drawn = [np.vstack([np.ones(count), draw(count, resamples, own, each)]) for count, own, each in pairs]
    theirs, ours = a(drawn[0]), b(drawn[1])
    return {name: _difference(ours[name] - theirs[name]) for name in theirs}


def draw(documents: int, resamples: int, seed: int, groups: Groups | None = None) -> Weights:
    """How often each resample holds each document: as many draws with replacement as there are documents (or groups).

    Raises:
        ValueError: there is nothing to draw, or `groups` does not name one group per document.
    """
    if documents < 1 or resamples < 1:
        raise ValueError(f"a bootstrap needs documents and resamples; {documents} and {resamples} came")
    if groups is not None and groups.shape != (documents,):
        raise ValueError(f"every document needs one group; {groups.shape} groups came for {documents} documents")
    member = np.arange(documents) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(member.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    return drawn[:, member].astype(np.float64)


def _difference(values: Values) -> Difference:
    value, drawn = float(values[0]), values[1:]
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return Difference(float("nan"), float("nan"), float("nan"), float("nan"))
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return Difference(value, *_ends(drawn), p=min(1.0, 2 * (1 + beyond) / (1 + len(drawn))))


def _ends(values: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)
