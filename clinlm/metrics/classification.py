"""Quality of predicted labels: threshold metrics and ranking metrics, overall, per label, and of resamples at once."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Integer
from scipy.sparse import csr_array

from clinlm.config.errors import ConfigError, DataError
from clinlm.metrics.bootstrap import Values, Weights
from clinlm.metrics.decisions import Probabilities, Thresholds, apply_thresholds
from clinlm.metrics.ranking import DENSE, one_vs_one, rank_columns, ranking_metrics, ratio
from clinlm.metrics.score_steps import ScoreSteps

Targets = Integer[np.ndarray, "documents labels"] | Bool[np.ndarray, "documents labels"]
Counts = Float[np.ndarray, "resamples labels"]

METRICS = (
    "accuracy",
    "subset_accuracy",
    *(f"{average}_{metric}" for average in ("micro", "macro", "weighted") for metric in ("precision", "recall", "f1")),
    *(f"{average}_{metric}" for average in ("micro", "macro") for metric in ("auroc", "auprc")),
)
"""Keys of `quality()`, in the order of reports. All lie in [0, 1]; higher is better."""

_CELLS = 2**23
"""Cells of a table that are floats at once."""
ONE_VS_ONE = "macro_auroc_ovo"
"""A further key, last, where a document has exactly one label: AUROC of one label against one other (OptimCLM)."""


def quality(targets: Targets, probabilities: Probabilities, thresholds: Thresholds) -> dict[str, float]:
    """Return all of `METRICS` on one set of documents; and `ONE_VS_ONE` without thresholds.

    `accuracy` is label-wise (the share of right cells of the table documents x labels; the only reading of Smart
    GRIFFIN that fits its F1), `subset_accuracy` is the share of documents with every label right; where a document has
    exactly one label (`thresholds` None), both are the share of documents classified right. A label without positives
    has precision, recall and F1 of 0 and counts in the macro mean, as in scikit-learn. AUROC and AUPRC (average
    precision) are averaged over the labels that have both a positive and a negative document.

    Where a document has exactly one label, `macro_auroc` sets each label against all the others (one-vs-rest), and
    `macro_auroc_ovo` each against one other at a time: for every ordered pair (i, j) of labels that occur, the AUROC of
    the scores for i among the documents of i and j, and the mean of them (Hand & Till 2001, Machine Learning 45,
    equation 7; scikit-learn's `roc_auc_score(multi_class="ovo", average="macro")`, which OptimCLM reports and which
    needs scores that sum to 1, as this does not). The frequencies of the labels do not move it. Of two labels whose
    scores sum to 1, both are the plain AUROC.

    Args:
        targets: 0/1 or bool, documents x labels.
        probabilities: in [0, 1], documents x labels.
        thresholds: in [0, 1], one per label; a label is predicted where probability >= threshold. None: the most
            probable label alone is predicted.

    Returns:
        One value in [0, 1] per metric; NaN for a ranking metric that is defined for no label (or pair) at all.

    Raises:
        ValueError: shapes differ, there is no document, or a value is out of its range.
    """
    values = weighted_quality(targets, probabilities, thresholds, np.ones((1, len(targets))))
    return {name: float(value[0]) for name, value in values.items()}


def weighted_quality(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds, weights: Weights
) -> dict[str, Values]:
    """Return all of `quality()` for every row of weights: the same as of documents repeated as often.

    Args:
        targets, probabilities, thresholds: as in `quality`.
        weights: whole numbers >= 0, how often each resample holds each document; no row is all 0.

    Returns:
        One value per resample and metric; NaN where a ranking metric is defined for no label of that resample.

    Raises:
        ValueError: as in `quality`, or the weights do not fit the documents.
    """
    predicted, truth = decide(targets, probabilities, thresholds), np.asarray(targets, dtype=bool)
    check_weights(weights, len(truth))
    hit, extra, missed = (
        weighted_counts(cells, weights) for cells in (truth & predicted, ~truth & predicted, truth & ~predicted)
    )
    documents = weights.sum(axis=1)
    values = {
        "accuracy": 1 - (extra + missed).sum(axis=1) / (documents * truth.shape[1]),
        "subset_accuracy": weights @ np.all(truth == predicted, axis=1) / documents,
        **count_scores(hit, extra, missed),
    }
    del predicted, hit, extra, missed  # of thousands of labels they are hundreds of megabytes
    values |= ranking_metrics(truth, probabilities, np.arange(len(truth)), weights)
    if thresholds is not None:
        return {name: values[name] for name in METRICS}
    values["accuracy"] = values["subset_accuracy"]
    return {name: values[name] for name in METRICS} | {ONE_VS_ONE: one_vs_one(truth, probabilities, weights)}


def per_label(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds, names: Sequence[str]
) -> pl.DataFrame:
    """Return the quality of every label on its own.

    Args:
        targets, probabilities, thresholds: as in `quality`.
        names: of the labels, in the order of the columns.

    Returns:
        One row per label: label, support (documents that have it), threshold (null without thresholds), accuracy (the
        share of documents with this label right), precision, recall, f1, auroc, auprc; the last two are null where all
        documents have the label, or none.

    Raises:
        ValueError: as in `quality`, or the number of names differs from the number of labels.
    """
    predicted, truth = decide(targets, probabilities, thresholds), np.asarray(targets, dtype=bool)
    labels, ones = truth.shape[1], np.ones((1, len(truth)))
    if len(names) != labels:
        raise ValueError(f"names must be one a label, got {len(names)} for {labels} labels")
    hit, extra, missed = (own.sum(axis=0) for own in (truth & predicted, ~truth & predicted, truth & ~predicted))
    auroc, auprc = (pl.Series(each[:, 0]) for each in rank_columns(truth, probabilities, np.arange(len(truth)), ones))
    return pl.DataFrame(
        {
            "label": list(names),
            "support": truth.sum(axis=0).tolist(),
            "threshold": [None] * labels if thresholds is None else thresholds.tolist(),
            "accuracy": (predicted == truth).mean(axis=0).tolist(),
            **{metric: each.tolist() for metric, each in _label_scores(hit, extra, missed).items()},
            "auroc": auroc.fill_nan(None),
            "auprc": auprc.fill_nan(None),
        },
        schema_overrides={"auroc": pl.Float64, "auprc": pl.Float64, "threshold": pl.Float64},
    )


def weighted_counts(cells: Bool[np.ndarray, "documents labels"], weights: Weights) -> Counts:
    """Return in how many documents each cell is true, in every resample; where few are, only these are visited."""
    if np.count_nonzero(cells) * DENSE > cells.size:
        found, size = np.zeros((len(weights), cells.shape[1])), max(1, _CELLS // cells.shape[1])
        for start in range(0, len(cells), size):  # whole numbers: the sum of parts is exact
            found += weights[:, start : start + size] @ cells[start : start + size].astype(np.float64)
        return found
    document, label = np.nonzero(cells)
    members = csr_array((np.ones(len(label)), (label, document)), shape=cells.shape[::-1])
    return np.asarray(members @ weights.T).T


def count_scores(hit: Counts, extra: Counts, missed: Counts) -> dict[str, Values]:
    """Return precision, recall and F1 from counts: micro, macro and weighted by the number of true ones.

    0 / 0 is 0; so a label without positives has a recall and F1 of 0 and counts in the macro mean.

    Args:
        hit: how many true ones were found.
        extra: how many were found that are not true.
        missed: how many true ones were not found.
    """
    values, support = {}, hit + missed
    micro = _label_scores(*(counted.sum(axis=1) for counted in (hit, extra, missed)))
    for metric, each in _label_scores(hit, extra, missed).items():
        values[f"micro_{metric}"] = micro[metric]
        values[f"macro_{metric}"] = each.mean(axis=1)
        values[f"weighted_{metric}"] = ratio((each * support).sum(axis=1), support.sum(axis=1))
    return values


def _label_scores(hit: np.ndarray, extra: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "precision": ratio(hit, hit + extra),
        "recall": ratio(hit, hit + missed),
        "f1": ratio(2 * hit, 2 * hit + extra + missed),
    }


def decide(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds
) -> Bool[np.ndarray, "documents labels"]:
    """Return the predicted labels as `apply_thresholds`, after checking that the three arrays belong together.

    Raises:
        ValueError: shapes differ, there is no document, or a value is out of its range.
    """
    check_predictions(targets, probabilities)
    return apply_thresholds(probabilities, thresholds)


def check_predictions(targets: Targets, probabilities: Probabilities) -> None:
    """Raise unless targets and probabilities belong together.

    Raises:
        ValueError: shapes differ, there is no document or no label, or a value is out of its range.
    """
    if targets.ndim != 2 or targets.shape != probabilities.shape or 0 in targets.shape:
        raise ValueError(
            "targets and probabilities must be documents x labels of one shape, neither side 0, got "
            f"{targets.shape} and {probabilities.shape}"
        )
    if not np.all((targets == 0) | (targets == 1)):
        raise ValueError("targets must be 0 or 1, got other values")
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise DataError("probabilities must lie in [0, 1], got others (or NaN); pass logits through a sigmoid first")


def check_weights(weights: Weights, documents: int) -> None:
    """Raise ValueError unless weights are resamples x documents, every row with a positive sum."""
    if weights.ndim != 2 or weights.shape[1] != documents or not np.all(weights.sum(axis=1) > 0):
        raise ValueError(
            f"weights must be resamples x {documents} documents, every row with a positive sum, got {weights.shape}"
        )


def fit_thresholds(
    targets: Targets, probabilities: Probabilities, scope: Literal["global", "per_label"]
) -> Float[np.ndarray, " labels"]:
    """Return the thresholds with the highest F1 of all possible ones. Fit them on validation, never on test.

    Every cut between two neighbouring distinct scores is tried (and the one below the lowest score, taking 0 as its
    neighbour); the threshold is the midpoint of the two. Of cuts with equal F1 the one nearest 0.5 is taken, of two
    equally near the higher.

    Args:
        targets: 0/1 or bool, documents x labels, of the validation split.
        probabilities: in [0, 1], documents x labels.
        scope: `global`: one threshold for all labels, maximising micro F1. `per_label`: each label's own F1; a label
            without positives has no F1 to maximise and gets the global threshold.

    Returns:
        One threshold per label in [0, 1]; a label is predicted where probability >= threshold.

    Raises:
        ValueError: shapes or ranges are wrong, `scope` is unknown, or there is no positive at all.
    """
    check_predictions(targets, probabilities)
    truth, scores = np.asarray(targets, dtype=bool), np.asarray(probabilities)
    if not truth.any():
        raise DataError("fitting thresholds by F1 needs a positive label, got validation targets without any")
    everywhere = np.repeat(_best_cuts(truth.reshape(-1, 1), scores.reshape(-1, 1)), truth.shape[1])
    match scope:
        case "global":
            return everywhere
        case "per_label":
            return np.where(truth.any(axis=0), _best_cuts(truth, scores), everywhere)
    raise ConfigError(f"scope must be 'global' or 'per_label', got {scope!r}")


def _best_cuts(truth: Targets, scores: Probabilities) -> Float[np.ndarray, " labels"]:
    """Return the midpoint of the cut with the highest F1, for every column; 0.5 for one without positives."""
    steps, cuts = ScoreSteps.of(truth, scores), np.full(truth.shape[1], 0.5)
    hits = np.arange(1, len(steps.step) + 1)[np.append(np.diff(steps.step) > 0, True)]
    start = np.append(0, hits)[steps.first]
    f1 = 2 * (hits - start[steps.column]) / (steps.counts(scores)[1] + np.diff(start)[steps.column])
    highest, there = np.zeros(truth.shape[1]), np.unique(steps.column)
    highest[there] = np.maximum.reduceat(f1, steps.first[there])
    best = np.flatnonzero(f1 == highest[steps.column])
    above, below = steps.score[best].astype(np.float64), steps.below(scores, best).astype(np.float64)
    middle = below + (above - below) / 2
    # Between neighbouring floats the midpoint may round down onto the lower score, which would then be taken too.
    middle = np.where(middle > below, middle, above)
    # The last assignment holds: of the nearest to 0.5, and of two equally near of the higher.
    order = np.lexsort((middle, -np.abs(middle - 0.5)))
    cuts[steps.column[best[order]]] = middle[order]
    return cuts
