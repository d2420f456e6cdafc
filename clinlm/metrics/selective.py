"""Selective prediction: the risk of the answers that remain where a model abstains from the least certain ones.

Sources: risk-coverage curves, El-Yaniv and Wiener 2010, JMLR 11:1605-1641; the area below them (AURC), Geifman, Uziel
and El-Yaniv 2019, ICLR, arXiv:1805.08206; abstention can make single groups worse, Jones et al. 2021, ICLR,
arXiv:2010.14134. Answers of equal confidence are taken in random order, and the mean over the orders is reported.
"""

from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.sparse import csr_matrix

from clinlm.metrics.bootstrap import Values, Weights

BINS: Final = 512
"""Most different confidences that are told apart; of more, neighbours in rank count as equal."""

_NEAREST: Final = 1e-12
"""Probabilities are kept this far from 0 and 1, whose logits are infinite."""


def log_odds_margin(
    probabilities: Float[np.ndarray, "units labels"], thresholds: Float[np.ndarray, " labels"]
) -> Float[np.ndarray, "units labels"]:
    """Return the confidence of the decisions on independent labels: |logit(probability) - logit(threshold)|.

    Log odds, because a probability of 0.001 is much surer than one of 0.02 where the threshold is 0.1, and labels whose
    thresholds differ can be compared.
    """
    return np.asarray(np.abs(_logit(probabilities) - _logit(thresholds)))


def _logit(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    kept = np.clip(values, _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


@final
@dataclass(frozen=True)
class RiskCurve:
    """Answers from the most to the least confident bin, cumulated, for every resample.

    Attributes:
        answered: number of answers up to the end of each bin.
        wrong: how many of them are wrong.
        among, among_wrong: the same of chosen answers only, such as those on notes that have the label.
    """

    answered: Float[np.ndarray, "resamples bins"]
    wrong: Float[np.ndarray, "resamples bins"]
    among: Float[np.ndarray, "resamples bins"]
    among_wrong: Float[np.ndarray, "resamples bins"]

    @classmethod
    def of(
        cls,
        confidence: Float[np.ndarray, " units"],
        wrong: Bool[np.ndarray, " units"],
        among: Bool[np.ndarray, " units"],
        documents: Int[np.ndarray, " units"],
        weights: Weights,
    ) -> Self:
        """Return the curve of some answers.

        Args:
            documents: of every unit, its document.
            weights: how often each resample holds each document.
        """
        place, bins = _bins(confidence)

        def cumulated(chosen: Shaped[np.ndarray, " units"]) -> Float[np.ndarray, "resamples bins"]:
            shape = (weights.shape[1], bins)
            counts = csr_matrix((chosen.astype(np.float64), (documents, place)), shape=shape)
            return np.asarray(np.cumsum((counts.T @ weights.T).T, axis=1))

        return cls(*(cumulated(chosen) for chosen in (np.ones_like(wrong), wrong, among, wrong & among)))

    def area(self) -> Values:
        """Return the mean risk of the k most confident answers over all k (AURC), in [0, 1]; lower is better."""
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, self.answered.max() + 1))])
        whole = self.answered.astype(np.int64)
        counts, errors = (np.diff(values, axis=1, prepend=0) for values in (self.answered, self.wrong))
        before, wrong = self.answered - counts, self.wrong - errors
        rate = np.divide(errors, counts, out=np.zeros_like(errors), where=counts > 0)
        # Within a bin the k-th answer leaves `wrong + rate (k - before)` errors among k.
        steps = harmonic[whole] - np.concatenate([np.zeros((len(whole), 1)), harmonic[whole[:, :-1]]], axis=1)
        return _ratio((rate * counts + (wrong - rate * before) * steps).sum(axis=1), self.answered[:, -1])

    def risk(self, share: float) -> Values:
        """Return the share of wrong answers among the `share` of most confident ones; NaN without answers."""
        return _ratio(self._upto(self.wrong, share), self._upto(self.answered, share))

    def risk_among(self, share: float) -> Values:
        """Return the same among the chosen ones that are answered; NaN where none is."""
        return _ratio(self._upto(self.among_wrong, share), self._upto(self.among, share))

    def _upto(self, cumulated: Float[np.ndarray, "resamples bins"], share: float) -> Values:
        wanted = share * self.answered[:, -1:]
        last = np.minimum((self.answered < wanted - 1e-9).sum(axis=1, keepdims=True), self.answered.shape[1] - 1)

        def ends(values: Float[np.ndarray, "resamples bins"]) -> tuple[Values, Values]:
            end = np.take_along_axis(values, last, axis=1)[:, 0]
            start = np.take_along_axis(values, np.maximum(last - 1, 0), axis=1)[:, 0]
            return np.where(last[:, 0] > 0, start, 0.0), end

        (low, high), (start, end) = ends(self.answered), ends(cumulated)
        part = np.divide(wanted[:, 0] - low, high - low, out=np.ones_like(low), where=high > low)
        return np.asarray(start + np.clip(part, 0, 1) * (end - start))


def _bins(confidence: Float[np.ndarray, " units"]) -> tuple[Int[np.ndarray, " units"], int]:
    """Return the bin of every unit, the most confident first, and the number of bins."""
    levels, place = np.unique(-confidence, return_inverse=True)
    place = place.reshape(-1)
    if len(levels) > BINS:
        first = np.cumsum(np.bincount(place)) - np.bincount(place)
        place = np.unique(first * BINS // len(confidence), return_inverse=True)[1].reshape(-1)[place]
    return place, int(place.max()) + 1


def _ratio(part: Values, whole: Values) -> Values:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))
