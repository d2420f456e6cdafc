"""Agreement of the decisions of two models on the same documents."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights, resample
from clinlm.metrics.entities import WordStart, WordTags, documents_of

Decisions = Bool[np.ndarray, "documents labels"]
Classes = Bool[np.ndarray, "documents cells classes"]
Said = Float[np.ndarray, "documents classes"]


@final
@dataclass(frozen=True)
class Agreement:
    """Shares in [0, 1] of equal decisions, right or wrong.

    Attributes:
        cells: of the cells documents x labels. Of a multiclass document that is decided otherwise two cells differ. Of
            entities: of the words.
        documents: of the documents, alike in all their labels, or in the tags of all their words.
        kappa: Cohen's kappa, agreement beyond that of chance, at most 1: of yes and no over all cells (multilabel), of
            the class decided (multiclass), of the tags of words (entities). NaN where both models always say the same
            one thing.
    """

    cells: Interval
    documents: Interval
    kappa: Interval


def measure_agreement(
    a: Decisions,
    b: Decisions,
    kind: Literal["multilabel", "multiclass"],
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> Agreement:
    """Compare the decisions of two models, with 95 % bootstrap intervals.

    With no disagreement every resample gives 1, and with one hardly less: the bootstrap interval is too narrow. The low
    end of both rates is therefore at most 0.025 ** (1 / units), the bound of Clopper & Pearson (1934) for that many
    units (groups, or documents without groups) without disagreement. Kappa keeps [1, 1] where all are alike.

    Kappa is Cohen's (1960): (observed - expected) / (1 - expected), in one product over all resamples; one by one it is
    scikit-learn's `cohen_kappa_score`, as a test shows.

    Args:
        a: decisions of one model, as `clinlm.metrics.classification.apply_thresholds` gives them from probabilities and
            thresholds.
        b: of the other, on the same documents.
        kind: of the task.
        resamples: as in `clinlm.metrics.bootstrap.intervals`.
        seed: as there.
        groups: as there.

    Raises:
        ValueError: the two do not fit each other, a multiclass document has not exactly one label decided, or as in
            `clinlm.metrics.bootstrap.draw`.
    """
    _check(a, b, kind)
    rows = resample(len(a), resamples, seed, groups)
    units = len(a) if groups is None else len(np.unique(groups))
    same = a == b
    total = rows.sum(axis=1)
    one, other = _classes(a, kind), _classes(b, kind)
    alike = (one & other).sum(axis=(1, 2)).astype(np.float64)
    beyond = kappa(alike, one.sum(axis=1).astype(np.float64), other.sum(axis=1).astype(np.float64), rows)
    cells, documents = (rows @ alike / total for alike in (same.mean(axis=1), same.all(axis=1)))
    return Agreement(rate(cells, units), rate(documents, units), Interval.percentile(beyond))


def _check(a: Decisions, b: Decisions, kind: str) -> None:
    if a.ndim != 2 or a.shape != b.shape or 0 in a.shape or {a.dtype, b.dtype} != {np.dtype(bool)}:
        raise ValueError(
            "decisions must be two boolean tables documents x labels of one shape, neither side 0, got "
            f"{a.dtype} {a.shape} and {b.dtype} {b.shape}; take them from apply_thresholds()"
        )
    if kind not in ("multilabel", "multiclass"):
        raise ValueError(f"kind must be 'multilabel' or 'multiclass', got {kind!r}")
    if kind == "multiclass" and not (np.all(a.sum(axis=1) == 1) and np.all(b.sum(axis=1) == 1)):
        raise ValueError("multiclass decisions must be exactly one label a document; use kind='multilabel'")


def rate(values: Values, units: int) -> Interval:
    """Return a share of equal decisions with its interval; see `measure_agreement` for the low end."""
    found = Interval.percentile(values)
    return Interval(found.value, min(found.low, 0.025 ** (1 / units)), found.high)


def _classes(decisions: Decisions, kind: str) -> Classes:
    """Return every document as cells of one class each: its label, or yes or no for every label."""
    return decisions[:, None, :] if kind == "multiclass" else np.stack([decisions, ~decisions], axis=2)


def kappa(alike: Float[np.ndarray, " documents"], a: Said, b: Said, rows: Weights) -> Values:
    """Return Cohen's kappa for every row of weights, from the equal cells and the class counts of each document."""
    cells = rows @ a.sum(axis=1)
    observed, expected = rows @ alike, ((rows @ a) * (rows @ b)).sum(axis=1)
    nothing = np.full(len(rows), np.nan)
    beyond, room = observed * cells - expected, cells**2 - expected
    # Up to rounding, room is 0 only where one class alone occurs.
    return np.asarray(np.divide(beyond, room, out=nothing, where=room > 1e-12 * cells**2))


def word_agreement(
    a: WordTags,
    b: WordTags,
    word_start: WordStart,
    resamples: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> Agreement:
    """Compare the tags that two models give to the same words, as `agreement` does decisions on the same documents.

    Documents are drawn, never words, and the low end of both rates is bounded by the number of documents (or groups):
    words of one note are no proof of each other. A document without words is alike.

    Args:
        a: tags of one model, all documents end to end.
        b: of the other.
        word_start: where the words of each document begin, and last their number.
        resamples: as in `clinlm.metrics.bootstrap.intervals`.
        seed: as there.
        groups: of each document, as there.

    Raises:
        ValueError: the three do not fit each other, there is no word, or as in `clinlm.metrics.bootstrap.draw`.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"both models must tag the same words, at least one, got {a.shape} and {b.shape} tags")
    document, documents = documents_of(word_start, len(a)), len(word_start) - 1
    rows = resample(documents, resamples, seed, groups)
    units = documents if groups is None else len(np.unique(groups))
    alike = np.bincount(document[a == b], minlength=documents).astype(np.float64)
    classes = int(max(a.max(), b.max())) + 1
    one, other = (
        np.bincount(document * classes + tags, minlength=documents * classes).reshape(documents, classes)
        for tags in (a, b)
    )
    beyond = kappa(alike, one.astype(np.float64), other.astype(np.float64), rows)
    whole = alike == np.diff(word_start)
    # A resample may hold documents without words only: it says nothing of words.
    words = rows @ np.diff(word_start)
    cells = np.divide(rows @ alike, words, out=np.full(len(rows), np.nan), where=words > 0)
    return Agreement(rate(cells, units), rate(rows @ whole / rows.sum(axis=1), units), Interval.percentile(beyond))
