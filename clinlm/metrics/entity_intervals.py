"""Intervals of what entities are judged by, and of each of their labels: counts per document, weighted."""

import polars as pl

from clinlm.metrics.entities import Counts, weighted_entity_quality
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.metrics.intervals import Groups, Weigh, spreads
from clinlm.metrics.weighted import Values, Weights, scores

MATCHES = ("", "relaxed_")
"""What stands before the name of a strict and of a relaxed score."""

_METRICS = ("precision", "recall", "f1")


def weigh_entities(judged: EntityEvaluation) -> Weigh:
    """Return what tells all metrics of entities for every row of weights; the ranking of words, which is slow, is not
    among them."""
    return lambda weights: weighted_entity_quality(judged.counts("strict"), judged.counts("relaxed"), weights)


def label_intervals(
    judged: EntityEvaluation, resamples: int = 1000, seed: int = 0, groups: Groups | None = None
) -> pl.DataFrame:
    """Return the table of `EntityEvaluation.per_label` with 95 % intervals: `_low` and `_high` of every score.

    Args:
        judged: answers of a model.
        resamples, seed, groups: see `clinlm.metrics.intervals.intervals`.
    """

    def each(weights: Weights) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for prefix, counts in zip(MATCHES, (judged.counts("strict"), judged.counts("relaxed")), strict=True):
            for column, label in enumerate(judged.tags.labels):
                own = _scores(counts, column, weights)
                found |= {f"{label} {prefix}{metric}": own[f"micro_{metric}"] for metric in _METRICS}
        return found

    ends = spreads(each, judged.documents, resamples, seed, groups)
    names = [prefix + metric for prefix in MATCHES for metric in _METRICS]
    labels = judged.tags.labels
    columns = {
        f"{name}_{end}": [getattr(ends[f"{label} {name}"], end) for label in labels]
        for name in names
        for end in ("low", "high")
    }
    return judged.per_label().with_columns(pl.Series(name, values) for name, values in columns.items())


def _scores(counts: Counts, column: int, weights: Weights) -> dict[str, Values]:
    """The scores of one label: micro, macro and weighted means over it alone are the same."""
    each = (counts.hits, counts.extra, counts.missed)
    return scores(*(weights @ one[:, column : column + 1].astype(float) for one in each))
