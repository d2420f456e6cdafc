"""Calibration of probabilities: expected calibration error, Brier score, reliability curve, temperature."""

from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from clinlm.config.errors import DataError
from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights, resample
from clinlm.metrics.classification import Targets, check_predictions
from clinlm.metrics.decisions import Probabilities

Kind = Literal["multilabel", "multiclass"]
Logits = Float[np.ndarray, "documents outputs"]

BINS: Final = 15
CONSISTENT: Final = 100
"""Drawings of the truth from the probabilities, for `Calibration.chance`."""

LARGEST: Final = 100.0
"""Temperatures are looked for in [1 / LARGEST, LARGEST]."""


@final
@dataclass(frozen=True)
class Bin:
    """One stretch of confidence.

    Attributes:
        low: lower edge, belongs to it.
        high: upper edge, belongs to the next, save for 1.
        count: answers in it: cells documents x labels (multilabel), documents (multiclass).
        confidence: their mean; NaN for none.
        frequency: share of them that are true; NaN for none.
    """

    low: float
    high: float
    count: int
    confidence: float
    frequency: Interval


@final
@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of one model are calibrated.

    Attributes:
        ece: expected calibration error, in [0, 1], lower is better; see `calibration`.
        chance: the ECE that noise alone would give these documents, were every probability right.
        brier: Brier score, in [0, 1] (multilabel) or [0, 2] (multiclass), lower is better.
        curve: of reliability, one bin after the other from 0 to 1.
    """

    ece: Interval
    chance: float
    brier: Interval
    curve: tuple[Bin, ...]


def measure_calibration(
    targets: Targets,
    probabilities: Probabilities,
    kind: Kind,
    bins: int = BINS,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> Calibration:
    """Measure the calibration of one model, with 95 % bootstrap intervals.

    ECE (Guo et al. 2017, equation 3; Naeini et al. 2015): the mean over bins of equal width of
    |observed frequency - mean confidence|, weighted by their answers. Multilabel: of every label by itself, its
    probability against its truth, then the mean over labels. Multiclass: of the most probable label, whether it is
    right. Per label it is torchmetrics' `binary_calibration_error`, as a test shows; here it is one product over all
    resamples. Noise pushes it up, the more the fewer documents a bin: its interval is cautious (`Interval.cautious`),
    and `chance` says what is left of it in a model without fault (consistency resampling, Broecker & Smith 2007: the
    mean over CONSISTENT drawings of the truth from the probabilities, documents taken as independent).

    Brier score: the mean squared difference of probability and truth, over documents and labels (multilabel), or
    summed over the labels and averaged over documents (multiclass, as Brier 1950).

    Args:
        targets: 0/1 or bool, documents x labels.
        probabilities: in [0, 1], documents x labels.
        bins: of equal width.
        resamples: as in `clinlm.metrics.bootstrap.intervals`.
        seed: as there.
        groups: as there.

    Raises:
        ValueError: as in `clinlm.metrics.classification.quality` and `draw`; or `bins` or `kind` is none.
    """
    rows = resample(len(targets), resamples, seed, groups)
    ece, brier = _errors(targets, probabilities, kind, bins, rows)
    truth, confidence = _answers(targets, probabilities, kind)
    return Calibration(
        Interval.cautious(ece),
        _chance(confidence, bins, seed),
        Interval.percentile(brier),
        _curve(truth, confidence, bins, rows),
    )


def calibration_change(
    targets: Targets,
    a_probabilities: Probabilities,
    b_probabilities: Probabilities,
    kind: Kind,
    bins: int = BINS,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, Interval]:
    """Return what `ece` and `brier` of b are above those of a, on the same documents and resamples.

    Arguments, intervals and errors as in `calibration`.
    """
    rows = resample(len(targets), resamples, seed, groups)
    a, b = (_errors(targets, own, kind, bins, rows) for own in (a_probabilities, b_probabilities))
    return {
        "ece": Interval.cautious(b[0] - a[0], least=-1.0),
        "brier": Interval.percentile(b[1] - a[1]),
    }


def fit_temperature(logits: Logits, targets: Targets, kind: Kind) -> float:
    """Return the temperature by which logits are divided so that their probabilities fit the targets best.

    Guo et al. 2017, section 4.2: the minimum of the negative log-likelihood on validation; there for the softmax, here
    also for the sigmoid, with one temperature for all labels. A positive temperature changes no ranking, and no
    decision either once thresholds are fitted anew to the new probabilities.

    Args:
        logits: of validation documents, never of test documents.
        targets: 0/1 or bool, of the same shape.

    Returns:
        a temperature in [0.01, 100], never worse on these documents than 1.

    Raises:
        ValueError: shapes or values are wrong.
    """
    _check_kind(kind)
    if logits.ndim != 2 or logits.shape != targets.shape or 0 in logits.shape or not np.isfinite(logits).all():
        raise DataError(
            "a temperature needs finite logits and targets, documents x labels of one shape, neither side 0, got "
            f"{logits.shape} and {targets.shape}"
        )
    values, truth = logits.astype(np.float64), np.asarray(targets, dtype=np.float64)
    bounds = (-float(np.log(LARGEST)), float(np.log(LARGEST)))
    found = minimize_scalar(
        lambda power: log_loss(values / np.exp(power), truth, kind), bounds=bounds, method="bounded"
    )
    better = found.fun < log_loss(values, truth, kind)
    return float(np.exp(found.x)) if better else 1.0


def log_loss(logits: Logits, targets: Float[np.ndarray, "documents outputs"], kind: Kind) -> float:
    """Return the negative log-likelihood of the targets in nats, a mean over cells (multilabel) or documents."""
    if kind == "multilabel":
        return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))
    return float(np.mean(logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)))


def _check_kind(kind: str) -> None:
    if kind not in ("multilabel", "multiclass"):
        raise ValueError(f"kind must be 'multilabel' or 'multiclass', got {kind!r}")


def _errors(
    targets: Targets, probabilities: Probabilities, kind: Kind, bins: int, rows: Weights
) -> tuple[Values, Values]:
    """ECE and Brier score of every row of weights."""
    truth, confidence = _answers(targets, probabilities, kind)
    documents, total = len(truth), rows.sum(axis=1)
    # |frequency - confidence| times the bin's share is |sum of (truth - confidence)| over all answers.
    sums = np.zeros((documents, truth.shape[1], bins))
    np.put_along_axis(sums, _bin(confidence, bins)[:, :, None], (truth - confidence)[:, :, None], axis=2)
    gaps = np.abs(rows @ sums.reshape(documents, -1)).sum(axis=1)
    squares = np.square(np.asarray(targets, dtype=np.float64) - probabilities)
    brier = rows @ (squares.mean(axis=1) if kind == "multilabel" else squares.sum(axis=1)) / total
    return gaps / (total * truth.shape[1]), brier


def _chance(confidence: Float[np.ndarray, "documents answers"], bins: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    place = _bin(confidence, bins) + bins * np.arange(confidence.shape[1])
    drawn = [
        np.abs(
            np.bincount(place.ravel(), (rng.random(confidence.shape) < confidence).ravel() - confidence.ravel())
        ).sum()
        for _ in range(CONSISTENT)
    ]
    return float(np.mean(drawn)) / confidence.size


def _answers(
    targets: Targets, probabilities: Probabilities, kind: Kind
) -> tuple[Float[np.ndarray, "documents answers"], Float[np.ndarray, "documents answers"]]:
    """Truth (0 or 1) and confidence of every answer: of all labels, or of the most probable one."""
    _check_kind(kind)
    check_predictions(targets, probabilities)
    truth = np.asarray(targets, dtype=np.float64)
    if kind == "multilabel":
        return truth, np.asarray(probabilities, dtype=np.float64)
    top = probabilities.argmax(axis=1)[:, None]
    return np.take_along_axis(truth, top, axis=1), np.take_along_axis(probabilities, top, axis=1).astype(np.float64)


def _bin(confidence: Float[np.ndarray, "documents answers"], bins: int) -> Int[np.ndarray, "documents answers"]:
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _curve(
    truth: Float[np.ndarray, "documents answers"],
    confidence: Float[np.ndarray, "documents answers"],
    bins: int,
    rows: Weights,
) -> tuple[Bin, ...]:
    place = _bin(confidence, bins)
    curve = []
    for number in range(bins):
        inside: Bool[np.ndarray, "documents answers"] = place == number
        count, true = rows @ inside.sum(axis=1), rows @ (truth * inside).sum(axis=1)
        frequency = np.divide(true, count, out=np.full(len(rows), np.nan), where=count > 0)
        mean = float(confidence[inside].mean()) if inside.any() else float("nan")
        edges = number / bins, (number + 1) / bins
        curve.append(Bin(*edges, int(inside.sum()), mean, Interval.percentile(frequency)))
    return tuple(curve)
