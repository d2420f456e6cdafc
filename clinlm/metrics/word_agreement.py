"""How often two models give the same words the same tags."""

import numpy as np

from clinlm.metrics.agreement import Agreement, kappa, rate
from clinlm.metrics.estimate import Estimate, weights
from clinlm.metrics.intervals import Groups
from clinlm.metrics.word_ranking import WordStart, WordTags, documents_of


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
        resamples: as in `clinlm.metrics.intervals.intervals`.
        seed: as there.
        groups: of each document, as there.

    Raises:
        ValueError: the three do not fit each other, there is no word, or as in `clinlm.metrics.intervals.draw`.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"both models tag the same words, at least one; {a.shape} and {b.shape} tags came")
    document, documents = documents_of(word_start, len(a)), len(word_start) - 1
    rows = weights(documents, resamples, seed, groups)
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
    return Agreement(rate(cells, units), rate(rows @ whole / rows.sum(axis=1), units), Estimate.percentile(beyond))
