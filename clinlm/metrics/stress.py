"""How much changed notes cost a model, and how much more they cost a compressed one: paired, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool

from clinlm.metrics.bootstrap import Interval, Weights
from clinlm.metrics.evaluation import LabelEvaluation

MODELS: Final = ("original", "compressed", "baseline")
"""Those that are compared; the baseline, TF-IDF, is missing where it cannot be fitted."""


@final
@dataclass(frozen=True)
class Stress:
    """One kind of change, of all models on the same documents.

    Attributes:
        documents: that it changed; everything below is of these alone.
        quality: model -> metric on the changed notes, in [0, 1]. Empty where it changes labels.
        loss: model -> metric before minus after; above 0 where the change costs quality. Empty likewise.
        more: loss of the compressed model minus that of the original; None likewise.
        changed: model -> share of the decisions (documents x labels) that differ before and after.
        changed_more: that of the compressed model minus that of the original.
    """

    documents: int
    quality: Mapping[str, Interval]
    loss: Mapping[str, Interval]
    more: Interval | None
    changed: Mapping[str, Interval]
    changed_more: Interval


def measure_stress(
    before: Mapping[str, LabelEvaluation],
    after: Mapping[str, LabelEvaluation],
    touched: Bool[np.ndarray, " documents"],
    weights: Weights,
    metric: str,
    keeps_labels: bool,
) -> Stress:
    """Compare models before and after a change of the notes.

    Args:
        before, after: by `MODELS`, with the same thresholds; at least the original and the compressed one.
        touched: which notes changed; at least one.
        weights: the documents as they are, then resamples; see `clinlm.metrics.bootstrap.resample`.
        metric: key of `Evaluation.quality`.
    """
    chosen, rows = np.flatnonzero(touched), weights[:, touched]
    drawn: np.ndarray = np.asarray(rows.any(axis=1))
    losses, quality, changes = {}, {}, {}
    for model in before:
        a, b = before[model].only(chosen), after[model].only(chosen)
        differing = (a.decisions != b.decisions).mean(1)
        changes[model] = _filled(drawn, rows[drawn] @ differing / rows[drawn].sum(1))
        if keeps_labels:
            then, now = (own.weighted(rows[drawn])[metric] for own in (a, b))
            losses[model], quality[model] = _filled(drawn, then - now), Interval.percentile(_filled(drawn, now))
    return Stress(
        len(chosen),
        quality,
        {model: Interval.difference(own) for model, own in losses.items()},
        Interval.difference(losses["compressed"] - losses["original"]) if keeps_labels else None,
        {model: Interval.percentile(own) for model, own in changes.items()},
        Interval.difference(changes["compressed"] - changes["original"]),
    )


def _filled(drawn: Bool[np.ndarray, " rows"], values: np.ndarray) -> np.ndarray:
    """Return values of all rows: NaN for a resample that has none of the documents."""
    found = np.full(len(drawn), np.nan)
    found[drawn] = values
    return found
