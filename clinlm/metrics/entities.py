"""Quality of entities found in documents: counted document by document, strictly and relaxed.

With counts per document, all of a bootstrap over documents is one product of weights and counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from clinlm.config.errors import DataError
from clinlm.metrics.bootstrap import Values, Weights
from clinlm.metrics.classification import check_weights, count_scores
from clinlm.metrics.ranking import ranking_metrics
from clinlm.terminology.spans import Span

PerLabel = Int[np.ndarray, "documents labels"]
Match = Literal["strict", "relaxed"]

SCORES = tuple(
    f"{average}_{metric}" for average in ("micro", "macro", "weighted") for metric in ("precision", "recall", "f1")
)
METRICS = ("subset_accuracy", *SCORES, *(f"relaxed_{name}" for name in SCORES))
"""Keys of `entity_quality()`, in the order of reports. All lie in [0, 1]; higher is better."""

WORD_METRICS = ("micro_auroc", "macro_auroc", "micro_auprc", "macro_auprc")
"""Keys of `word_ranking()`, in the order of reports. All lie in [0, 1]; higher is better."""

WordTags = Int[np.ndarray, " words"]
WordStart = Int[np.ndarray, " documents_and_end"]
"""Where the words of each document begin, all documents end to end, and last their number."""


@final
@dataclass(frozen=True)
class Counts:
    """Entities found in each document, by label.

    Attributes:
        hits: entities that are true and found.
        extra: found, but not true.
        missed: true, but not found.
    """

    labels: tuple[str, ...]
    hits: PerLabel
    extra: PerLabel
    missed: PerLabel

    @property
    def right(self) -> Bool[np.ndarray, " documents"]:
        """Whether a document has nothing extra and nothing missed."""
        return np.asarray((self.extra + self.missed).sum(axis=1) == 0)

    def only(self, column: int) -> Self:
        """Return the counts of one label."""
        own = slice(column, column + 1)
        return replace(
            self, labels=self.labels[own], hits=self.hits[:, own], extra=self.extra[:, own], missed=self.missed[:, own]
        )


def counts(
    gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]], labels: Sequence[str], match: Match
) -> Counts:
    """Count entities, one row a document.

    strict: start, end and label are the same. relaxed: the label is the same, and at least one character is common; one
    true entity is matched with one found at most and the other way round, so that as many are matched as possible.

    nervaluate 1.2.1, a library for this, has the same strict counts (a test compares them). Its nearest to relaxed,
    `ent_type`, label by label, may match fewer: it goes through the found ones in order and gives each the true one
    with the closest edges, though another may need that one; it also asks for 1 % of the true one's characters.

    Args:
        gold: true entities of every document; within a label none shares a character with another.
        found: what was found, likewise.
        labels: of the columns, each once.
        match: when an entity counts as found.

    Raises:
        ValueError: the two do not have one entry a document each, a label is not in `labels`, or entities overlap.
    """
    if len(gold) != len(found):
        raise ValueError(f"gold and found must be one list a document, got {len(gold)} and {len(found)} lists")
    matched = {"strict": _same, "relaxed": _overlapping}[match]
    table = np.zeros((3, len(gold), len(labels)), np.int64)
    for document, pair in enumerate(zip(gold, found, strict=True)):
        true, own = (_by_label(spans, labels) for spans in pair)
        for column, label in enumerate(labels):
            hits = matched(true[label], own[label])
            table[:, document, column] = hits, len(own[label]) - hits, len(true[label]) - hits
    return Counts(tuple(labels), *table)


def entity_quality(strict: Counts, relaxed: Counts) -> dict[str, float]:
    """Return all of `METRICS` on one set of documents.

    `subset_accuracy` is the share of documents with every entity right and none too many (strictly), names with
    `relaxed_` are of `relaxed`, the others of `strict`. What is 0 / 0 is 0; so a label without true entities has a
    recall and F1 of 0 and counts in the macro mean, as in `quality`.

    Raises:
        ValueError: there is no document, or the two do not fit each other.
    """
    values = weighted_entity_quality(strict, relaxed, np.ones((1, len(strict.hits))))
    return {name: float(value[0]) for name, value in values.items()}


def weighted_entity_quality(strict: Counts, relaxed: Counts, weights: Weights) -> dict[str, Values]:
    """Return `entity_quality()` for every row of weights, the same as on documents physically repeated.

    Args:
        strict: counts of `match="strict"`.
        relaxed: of `match="relaxed"`, for the same documents.
        weights: whole numbers >= 0, how often each resample holds each document; no row is all 0.

    Returns:
        One value per resample and metric.

    Raises:
        ValueError: the counts do not fit each other, or the weights the documents.
    """
    shape = strict.hits.shape
    if relaxed.hits.shape != shape or strict.labels != relaxed.labels or 0 in shape:
        raise ValueError(
            f"strict and relaxed counts must be of the same documents and labels, at least one each, got {shape} and "
            f"{relaxed.hits.shape}"
        )
    check_weights(weights, shape[0])
    values = {"subset_accuracy": weights @ strict.right / weights.sum(axis=1)}
    for prefix, own in (("", strict), ("relaxed_", relaxed)):
        found = count_scores(*(weights @ cells.astype(np.float64) for cells in (own.hits, own.extra, own.missed)))
        values |= {prefix + name: value for name, value in found.items()}
    return {name: values[name] for name in METRICS}


def entities_per_label(strict: Counts, relaxed: Counts) -> pl.DataFrame:
    """Return the quality of every label.

    Returns:
        One row per label: label, support (true entities), precision, recall, f1, and the last three again with
        `relaxed_` before them. What is 0 / 0 is 0.

    Raises:
        ValueError: as in `entity_quality`.
    """
    table: dict[str, list[str] | list[int] | list[float]] = {
        "label": list(strict.labels),
        "support": (strict.hits + strict.missed).sum(axis=0).tolist(),
    }
    quality = [entity_quality(strict.only(column), relaxed.only(column)) for column in range(len(strict.labels))]
    for prefix in ("", "relaxed_"):
        for metric in ("precision", "recall", "f1"):
            table[prefix + metric] = [scores[f"{prefix}micro_{metric}"] for scores in quality]
    return pl.DataFrame(table)


Edges = list[tuple[int, int]]


def _by_label(spans: Sequence[Span], labels: Sequence[str]) -> dict[str, Edges]:
    """Return the edges of spans by label, in order."""
    found: dict[str, Edges] = {label: [] for label in labels}
    for span in sorted(spans):
        if span.label not in found:
            raise DataError(f"labels of entities must be among {list(labels)}, got {span.label!r}")
        own = found[span.label]
        if own and own[-1][1] > span.start:
            raise ValueError("entities of a label must not overlap, but some do; call flatten(spans)")
        own.append((span.start, span.end))
    return found


def _same(true: Edges, found: Edges) -> int:
    return len(set(true) & set(found))


def _overlapping(true: Edges, found: Edges) -> int:
    """Match as many as possible, going through both in order.

    Of the two that are next in line, the one that ends first can share a character with no later one of the other side.
    So if the two overlap, nothing is lost by matching them, and if not, the one that ends first is never matched.
    """
    hits, one, other = 0, 0, 0
    while one < len(true) and other < len(found):
        (start, end), (begun, ended) = true[one], found[other]
        if start < ended and begun < end:
            hits, one, other = hits + 1, one + 1, other + 1
        elif end <= begun:
            one += 1
        else:
            other += 1
    return hits


def word_ranking(
    tags: WordTags,
    probabilities: Float[np.ndarray, "words tags"],
    word_start: WordStart,
    weights: Weights,
) -> dict[str, Values]:
    """Rank the words for every label by the sum of the probabilities of its two tags; right is a word inside an entity.

    Where an entity begins plays no part here. 120,000 words, 3 labels and 1,000 resamples take about 2 seconds.

    Args:
        tags: the true ones, as `clinlm.text.tags.Tags` numbers them.
        probabilities: of all tags, in [0, 1].
        word_start: ascends from 0 to the number of words.
        weights: whole numbers >= 0, how often each resample holds each document.

    Returns:
        One value per row of weights and metric of `WORD_METRICS`; NaN where no label has words in- and outside.

    Raises:
        ValueError: the arguments do not fit each other, or probabilities leave [0, 1].
    """
    document = documents_of(word_start, len(tags))
    if probabilities.shape[1] % 2 == 0 or len(probabilities) != len(tags) or weights.shape[1] != len(word_start) - 1:
        raise ValueError(
            "probabilities must be words x (O and two tags per label), and weights resamples x documents, got "
            f"{probabilities.shape} and {weights.shape} for {len(tags)} words and {len(word_start) - 1} documents"
        )
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise DataError("probabilities must lie in [0, 1], got others (or NaN); pass logits through a softmax first")
    labels = np.arange(probabilities.shape[1] // 2)
    inside = (tags[:, None] - 1) // 2 == labels
    values = ranking_metrics(inside, probabilities[:, 1::2] + probabilities[:, 2::2], document, weights)
    return {name: values[name] for name in WORD_METRICS}


def documents_of(word_start: WordStart, words: int) -> Int[np.ndarray, " words"]:
    """Return the number of the document of every word.

    Raises:
        ValueError: `word_start` does not ascend from 0 to the number of words.
    """
    counts = np.diff(word_start)
    if len(word_start) < 2 or word_start[0] != 0 or word_start[-1] != words or np.any(counts < 0):
        raise ValueError(f"word_start must begin at 0, ascend and end at {words}, got other numbers")
    return np.repeat(np.arange(len(counts)), counts)
