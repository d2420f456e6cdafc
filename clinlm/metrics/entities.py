"""Quality of entities found in documents: counted document by document, strictly and relaxed.

With counts per document, all of a bootstrap over documents is one product of weights and counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import polars as pl
from jaxtyping import Bool, Int

from clinlm.metrics.weighted import Values, Weights, scores
from clinlm.terminology.spans import Span

PerLabel = Int[np.ndarray, "documents labels"]
Match = Literal["strict", "relaxed"]

SCORES = tuple(
    f"{average}_{metric}" for average in ("micro", "macro", "weighted") for metric in ("precision", "recall", "f1")
)
METRICS = ("subset_accuracy", *SCORES, *(f"relaxed_{name}" for name in SCORES))
"""Keys of `entity_quality()`, in the order of reports. All lie in [0, 1]; higher is better."""


@final
@dataclass(frozen=True)
class Counts:
    """How many entities of each label were found in each document.

    Attributes:
        labels: names of the columns.
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
        raise ValueError(f"every document has true and found entities; {len(gold)} and {len(found)} lists came")
    matched = {"strict": _same, "relaxed": _overlapping}[match]
    table = np.zeros((3, len(gold), len(labels)), np.int64)
    for document, pair in enumerate(zip(gold, found, strict=True)):
        true, said = (_by_label(spans, labels) for spans in pair)
        for column, label in enumerate(labels):
            hits = matched(true[label], said[label])
            table[:, document, column] = hits, len(said[label]) - hits, len(true[label]) - hits
    return Counts(tuple(labels), *table)


def entity_quality(strict: Counts, relaxed: Counts) -> dict[str, float]:
    """All of `METRICS` on one set of documents.

    `subset_accuracy` is the share of documents with every entity right and none too many (strictly), names with
    `relaxed_` are of `relaxed`, the others of `strict`. What is 0 / 0 is 0; so a label without true entities has a
    recall and F1 of 0 and counts in the macro mean, as in `quality`.

    Raises:
        ValueError: there is no document, or the two do not fit each other.
    """
    values = weighted_entity_quality(strict, relaxed, np.ones((1, len(strict.hits))))
    return {name: float(value[0]) for name, value in values.items()}


def weighted_entity_quality(strict: Counts, relaxed: Counts, weights: Weights) -> dict[str, Values]:
    """All that `entity_quality()` gives for every row of weights; the same as that on documents physically repeated.

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
            f"strict and relaxed counts are of the same documents and labels, at least one each; {shape} and "
            f"{relaxed.hits.shape} came"
        )
    if weights.ndim != 2 or weights.shape[1] != shape[0] or not np.all(weights.sum(axis=1) > 0):
        raise ValueError(
            f"weights are a table resamples x {shape[0]} documents, every row with a positive sum; {weights.shape} came"
        )
    values = {"subset_accuracy": weights @ strict.right / weights.sum(axis=1)}
    for prefix, each in (("", strict), ("relaxed_", relaxed)):
        found = scores(*(weights @ one.astype(np.float64) for one in (each.hits, each.extra, each.missed)))
        values |= {prefix + name: value for name, value in found.items()}
    return {name: values[name] for name in METRICS}


def entities_per_label(strict: Counts, relaxed: Counts) -> pl.DataFrame:
    """Quality of every label on its own.

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
    each = [entity_quality(_only(strict, column), _only(relaxed, column)) for column in range(len(strict.labels))]
    for prefix in ("", "relaxed_"):
        for metric in ("precision", "recall", "f1"):
            table[prefix + metric] = [one[f"{prefix}micro_{metric}"] for one in each]
    return pl.DataFrame(table)


def _only(counts: Counts, column: int) -> Counts:
    own = slice(column, column + 1)
    return Counts(counts.labels[own], counts.hits[:, own], counts.extra[:, own], counts.missed[:, own])


Edges = list[tuple[int, int]]


def _by_label(spans: Sequence[Span], labels: Sequence[str]) -> dict[str, Edges]:
    """Return the edges of spans by label, in order."""
    found: dict[str, Edges] = {label: [] for label in labels}
    for span in sorted(spans):
        if span.label not in found:
            raise ValueError(f"entities are counted by the labels {list(labels)}; one came with {span.label!r}")
        own = found[span.label]
        if own and own[-1][1] > span.start:
            raise ValueError("entities of one label that share a character cannot be counted; take flat(spans)")
        own.append((span.start, span.end))
    return found


def _same(true: Edges, said: Edges) -> int:
    return len(set(true) & set(said))


def _overlapping(true: Edges, said: Edges) -> int:
    """Match as many as possible, going through both in order.

    Of the two that are next in line, the one that ends first can share a character with no later one of the other side.
    So if the two overlap, nothing is lost by matching them, and if not, the one that ends first is never matched.
    """
    hits, one, other = 0, 0, 0
    while one < len(true) and other < len(said):
        (start, end), (begun, ended) = true[one], said[other]
        if start < ended and begun < end:
            hits, one, other = hits + 1, one + 1, other + 1
        elif end <= begun:
            one += 1
        else:
            other += 1
    return hits
