"""Quality of multi-label predictions: threshold metrics and ranking metrics, overall and per label."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool, Float, Integer
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multilabel_accuracy,
    multilabel_exact_match,
    multilabel_f1_score,
    multilabel_precision,
    multilabel_recall,
)

Targets = Integer[np.ndarray, "documents labels"] | Bool[np.ndarray, "documents labels"]
Probabilities = Float[np.ndarray, "documents labels"]
Thresholds = Float[np.ndarray, " labels"] | None
"""One threshold a label, in [0, 1]; or None where a document has exactly one label: the most probable is predicted."""

METRICS = (
    "accuracy",
    "subset_accuracy",
    *(f"{average}_{metric}" for average in ("micro", "macro", "weighted") for metric in ("precision", "recall", "f1")),
    *(f"{average}_{metric}" for average in ("micro", "macro") for metric in ("auroc", "auprc")),
)
"""Keys of `quality()`, in the order of reports. All lie in [0, 1]; higher is better."""

ONE_VS_ONE = "macro_auroc_ovo"
"""A further key, last, where a document has exactly one label: AUROC of one label against one other (S3)."""

_SCORES = {"precision": multilabel_precision, "recall": multilabel_recall, "f1": multilabel_f1_score}


def quality(targets: Targets, probabilities: Probabilities, thresholds: Thresholds) -> dict[str, float]:
    """All of `METRICS` on one set of documents, computed by torchmetrics; and `ONE_VS_ONE` without thresholds.

    `accuracy` is label-wise (the share of right cells of the table documents x labels; the only reading of S0 that fits
    its F1), `subset_accuracy` is the share of documents with every label right; where a document has exactly one label
    (`thresholds` None), both are the share of documents classified right. A label without positives has
    precision, recall and F1 of 0 and counts in the macro mean, as in scikit-learn. AUROC and AUPRC (average precision)
    are averaged over the labels that have both a positive and a negative document; `undefined_labels` gives the others.

    Where a document has exactly one label, `macro_auroc` sets each label against all the others (one-vs-rest), and
    `macro_auroc_ovo` each against one other at a time: for every ordered pair (i, j) of labels that occur, the AUROC of
    the scores for i among the documents of i and j, and the mean of them (Hand & Till 2001, Machine Learning 45,
    equation 7; scikit-learn's `roc_auc_score(multi_class="ovo", average="macro")`, which S3 reports and which wants
    scores that sum to 1, as this does not). How frequent the labels are does not move it. Of two labels whose scores
    sum to 1, both are the plain AUROC.

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
    truth, predicted = torch.from_numpy(_bool(targets)).long(), decide(targets, probabilities, thresholds)
    decided, labels = torch.from_numpy(predicted).long(), truth.shape[1]
    values = {
        "accuracy": multilabel_accuracy(decided, truth, labels, average="micro", validate_args=False),
        "subset_accuracy": multilabel_exact_match(decided, truth, labels, validate_args=False),
    }
    if thresholds is None:
        values["accuracy"] = values["subset_accuracy"]
    for average in ("micro", "macro", "weighted"):
        for metric, score in _SCORES.items():
            values[f"{average}_{metric}"] = score(decided, truth, labels, average=average, validate_args=False)
    numbers = {name: float(value) for name, value in values.items()} | _ranking(targets, probabilities)
    further = {ONE_VS_ONE: _one_vs_one(_bool(targets), probabilities)} if thresholds is None else {}
    return {name: numbers[name] for name in METRICS} | further


def per_label(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds, names: Sequence[str]
) -> pl.DataFrame:
    """Quality of every label on its own.

    Args:
        targets: as in `quality`.
        probabilities: as in `quality`.
        thresholds: as in `quality`.
        names: of the labels, in the order of the columns.

    Returns:
        One row per label: label, support (documents that have it), threshold (null without thresholds), accuracy (the
        share of documents with this label right), precision, recall, f1, auroc, auprc; the last two are null where
        `undefined_labels` names the label.

    Raises:
        ValueError: as in `quality`, or the number of names differs from the number of labels.
    """
    truth = torch.from_numpy(_bool(targets)).long()
    decided, labels = torch.from_numpy(decide(targets, probabilities, thresholds)).long(), truth.shape[1]
    if len(names) != labels:
        raise ValueError(f"every label needs one name; {len(names)} names came for {labels} labels")
    auroc, auprc = _label_ranking(targets, probabilities)
    undefined = set(undefined_labels(targets))
    # Without validate_args=False torchmetrics refuses a task with a single label; decide() has validated.
    scores = {
        metric: score(decided, truth, labels, average="none", validate_args=False).reshape(labels).tolist()
        for metric, score in _SCORES.items()
    }
    return pl.DataFrame(
        {
            "label": list(names),
            "support": truth.sum(0).tolist(),
            "threshold": [None] * labels if thresholds is None else thresholds.tolist(),
            "accuracy": (decided == truth).double().mean(0).tolist(),
            **scores,
            "auroc": [None if label in undefined else value for label, value in enumerate(auroc.tolist())],
            "auprc": [None if label in undefined else value for label, value in enumerate(auprc.tolist())],
        },
        schema_overrides={"auroc": pl.Float64, "auprc": pl.Float64, "threshold": pl.Float64},
    )


def undefined_labels(targets: Targets) -> tuple[int, ...]:
    """Columns that are all 0 or all 1: AUROC and AUPRC say nothing there and the macro means leave them out."""
    positives = _bool(targets).sum(axis=0)
    return tuple(np.flatnonzero((positives == 0) | (positives == len(targets))).tolist())


def decide(
    targets: Targets, probabilities: Probabilities, thresholds: Thresholds
) -> Bool[np.ndarray, "documents labels"]:
    """Predicted labels, `probability >= threshold`, after checking that the three arrays belong together.

    Without thresholds the most probable label of every document, of equal ones the first.

    Raises:
        ValueError: shapes differ, there is no document, or a value is out of its range.
    """
    check(targets, probabilities)
    return decided(probabilities, thresholds)


def decided(probabilities: Probabilities, thresholds: Thresholds) -> Bool[np.ndarray, "documents labels"]:
    """Predicted labels of documents whose truth nobody knows: as `decide`, without a check of the probabilities.

    Raises:
        ValueError: not one threshold in [0, 1] a label.
    """
    if thresholds is None:
        return np.asarray(np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None], dtype=bool)
    if thresholds.shape != probabilities.shape[1:]:
        raise ValueError(f"every label needs one threshold; {thresholds.shape} for {probabilities.shape[1]} labels")
    if not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise ValueError("thresholds lie in [0, 1]; others (or NaN) came: take them from fit_thresholds()")
    return np.asarray(probabilities >= thresholds, dtype=bool)


def check(targets: Targets, probabilities: Probabilities) -> None:
    """Raise unless targets and probabilities belong together.

    Raises:
        ValueError: shapes differ, there is no document or no label, or a value is out of its range.
    """
    if targets.ndim != 2 or targets.shape != probabilities.shape or 0 in targets.shape:
        raise ValueError(
            "targets and probabilities are two tables documents x labels of one shape, neither side 0; "
            f"{targets.shape} and {probabilities.shape} came"
        )
    if not np.all((targets == 0) | (targets == 1)):
        raise ValueError("targets are 0 or 1; other values came")
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("probabilities lie in [0, 1]; others (or NaN) came: pass logits through a sigmoid first")


def _bool(targets: Targets) -> Bool[np.ndarray, "documents labels"]:
    # A copy, because torch warns of arrays that cannot be written to.
    return np.array(targets, dtype=bool)


def _ranking(targets: Targets, probabilities: Probabilities) -> dict[str, float]:
    truth = _bool(targets)
    auroc, auprc = _label_ranking(targets, probabilities)
    defined = ~np.isnan(auroc)
    numbers = dict.fromkeys(("micro_auroc", "micro_auprc", "macro_auroc", "macro_auprc"), float("nan"))
    if truth.any() and not truth.all():
        micro = _label_ranking(truth.reshape(-1, 1), probabilities.reshape(-1, 1))
        numbers |= {"micro_auroc": float(micro[0][0]), "micro_auprc": float(micro[1][0])}
    if defined.any():
        numbers |= {"macro_auroc": float(auroc[defined].mean()), "macro_auprc": float(auprc[defined].mean())}
    return numbers


def _label_ranking(
    targets: Targets, probabilities: Probabilities
) -> tuple[Float[np.ndarray, " labels"], Float[np.ndarray, " labels"]]:
    """AUROC and AUPRC of every label, NaN where undefined (torchmetrics would warn and answer 0 there)."""
    auroc, auprc = np.full(targets.shape[1], np.nan), np.full(targets.shape[1], np.nan)
    defined = np.setdiff1d(np.arange(targets.shape[1]), undefined_labels(targets))
    for label in defined:
        truth = torch.from_numpy(_bool(targets)[:, label]).long()
        scores = torch.from_numpy(np.array(probabilities[:, label], dtype=np.float64))
        auroc[label] = binary_auroc(scores, truth, validate_args=False)
        auprc[label] = binary_average_precision(scores, truth, validate_args=False)
    return auroc, auprc


def _one_vs_one(truth: Bool[np.ndarray, "documents labels"], probabilities: Probabilities) -> float:
    """Mean over the ordered pairs of labels that occur: how often a document of one scores above one of the other."""
    pairs = permutations(np.flatnonzero(truth.any(axis=0)).tolist(), 2)
    areas = [_above(probabilities[truth[:, one], one], probabilities[truth[:, other], one]) for one, other in pairs]
    return float(np.mean(areas)) if areas else float("nan")


def _above(positives: Float[np.ndarray, " positives"], negatives: Float[np.ndarray, " negatives"]) -> float:
    """AUROC: the share of pairs in which the positive scores higher; a tie is half a win."""
    ordered = np.sort(negatives)
    beaten = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(beaten.mean() / (2 * len(ordered)))
