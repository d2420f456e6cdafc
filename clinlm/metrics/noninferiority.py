"""Non-inferiority as trials test it: the interval of a paired difference against a margin that was fixed before.

Sources: Piaggio et al. 2012 (CONSORT extension for non-inferiority trials, JAMA 308:2594), Holm 1979.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, final

import numpy as np
from jaxtyping import Float

from clinlm.metrics.bootstrap import Groups, Interval, Values

Outcome = Literal["non-inferior", "inferior", "undecided"]

LEVEL = 0.025
"""One-sided level of either claim: of a 95 % interval."""
POWER = 0.8
_JOIN = 0.01
"""Share of the resamples below which p is read from a normal tail."""
_Z = NormalDist().inv_cdf(1 - LEVEL) + NormalDist().inv_cdf(POWER)


@final
@dataclass(frozen=True)
class NonInferiority:
    """Whether a model loses less than the margin to its reference.

    Attributes:
        verdict: "non-inferior" where the whole 95 % interval is above -margin, "inferior" where it is below, else
            "undecided"; of several models judged together, after Holm's correction.
        alone: the verdict of this model by itself, uncorrected.
        metric: that is compared.
        margin: largest loss that is accepted, a share of 1.
        difference: own minus that of the reference, paired.
        standard_error: of the difference: the standard deviation of its resamples; NaN where undefined.
        p: one-sided p of "loses the margin or more"; small for a non-inferior model.
        p_inferior: one-sided p of "loses less than the margin"; small for an inferior model.
        family: models judged together; 1 where the verdict is not corrected.
        claimed: whether the comparison is about this model; others are shown for information, uncorrected.
        units: how many were drawn from.
        unit: "notes", "groups" where notes of one group are drawn together.
        caveat: what is wrong with the margin, such as a change after results were known; "" for nothing.
    """

    verdict: Outcome
    alone: Outcome
    metric: str
    margin: float
    difference: Interval
    standard_error: float
    p: float
    p_inferior: float
    family: int = 1
    claimed: bool = True
    units: int = 0
    unit: str = "notes"
    caveat: str = ""

    @property
    def two_sided(self) -> float:
        """Two-sided p of a difference of exactly -margin; 1 where the difference is undefined."""
        return 1.0 if math.isnan(self.p + self.p_inferior) else min(1.0, 2 * min(self.p, self.p_inferior))

    @property
    def worse(self) -> bool:
        """Whether it is non-inferior, and yet its interval excludes 0 from below."""
        return self.verdict == "non-inferior" and self.difference.high < 0

    @property
    def detectable(self) -> float:
        """Smallest margin that these units can show with 80 % power if the true loss is 0; NaN where undefined."""
        return _Z * self.standard_error

    def needed(self, margin: float) -> int | None:
        """Return how many units show a loss below `margin` with 80 % power if the true loss is 0; None if undefined.

        The standard error shrinks with the square root of the units.
        """
        if math.isnan(self.standard_error):
            return None
        return max(1, math.ceil(self.units * (self.detectable / margin) ** 2 - 1e-9))


def judge(values: Values, metric: str, margin: float, documents: int, groups: Groups | None = None) -> NonInferiority:
    """Return the verdict on one model by itself.

    p inverts the percentile interval, so that p < 0.025 just where the interval excludes -margin. Where less than 1 %
    of the resamples lie beyond -margin, too few to count, p is that of a normal tail, joined at the 1st percentile.

    Args:
        values: differences, own minus reference: on the documents as they are, then one a resample; NaN where
            undefined.
        margin: in (0, 1).
        documents: how many there are.
        groups: of each document, where whole groups were drawn.
    """
    found, drawn = Interval.difference(values), values[1:][~np.isnan(values[1:])]
    units = documents if groups is None else len(np.unique(groups))
    unit = "groups" if units < documents else "notes"
    if math.isnan(found.low):
        return NonInferiority(
            "undecided", "undecided", metric, margin, found, math.nan, math.nan, math.nan, units=units, unit=unit
        )
    error = float(drawn.std(ddof=1)) if len(drawn) > 1 else math.nan
    below, above = share_below(drawn, found.value, -margin), share_below(-drawn, -found.value, margin)
    verdict: Outcome = "non-inferior" if below < LEVEL else "inferior" if above < LEVEL else "undecided"
    return NonInferiority(
        verdict, verdict, metric, margin, found, error, below, above, units=units, unit=unit
    )  # fmt: skip


def share_below(drawn: Float[np.ndarray, " resamples"], value: float, limit: float) -> float:
    """Return the level at which the lower end of a percentile interval is `limit`, in [0, 1].

    It is the largest share t with np.percentile(drawn, 100 t) <= limit, and beyond the 1st percentile a normal tail.

    Args:
        drawn: without NaN, at least one.
        value: on the documents as they are.
    """
    ordered = np.sort(drawn)
    count, last = int(np.searchsorted(ordered, limit, side="right")), len(ordered) - 1
    if count > last:
        return 1.0
    share = 0.0
    if count:
        low, high = ordered[count - 1], ordered[count]
        share = float((count - 1 + (limit - low) / (high - low)) / last)
    join, spread = float(np.percentile(ordered, 100 * _JOIN)), float(ordered.std(ddof=1)) if last else 0.0
    if share >= _JOIN or spread == 0:
        return share
    tail = NormalDist(value, spread)
    whole = tail.cdf(join)
    return _JOIN * tail.cdf(limit) / whole if whole > 0 else 0.0


def corrected(judged: Sequence[NonInferiority]) -> list[NonInferiority]:
    """Return verdicts on models judged together: by Holm's step-down procedure, the chance of any false one is <= 5 %.

    Of the two hypotheses of a model, to lose more and to lose less than the margin, one at most can be rejected; so a
    family has one hypothesis a model, with the two-sided p of "loses exactly the margin". Of one model nothing changes.
    """
    order = sorted(range(len(judged)), key=lambda place: judged[place].two_sided)
    found = list(judged)
    going = True
    for step, place in enumerate(order):
        own = judged[place]
        going = going and own.two_sided * (len(judged) - step) < 2 * LEVEL
        found[place] = replace(own, verdict=own.alone if going else "undecided", family=len(judged))
    return found
