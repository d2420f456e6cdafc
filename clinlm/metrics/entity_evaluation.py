"""Entities that a model finds in documents, compared with the true ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from clinlm.metrics.agreement import Agreement, word_agreement
from clinlm.metrics.bootstrap import Groups, Interval, Values, Weights, intervals, resample
from clinlm.metrics.entities import METRICS as FOUND
from clinlm.metrics.entities import (
    WORD_METRICS,
    Counts,
    Match,
    counts,
    entities_per_label,
    weighted_entity_quality,
    word_ranking,
)
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.fairness import UNKNOWN, Subgroups
from clinlm.terminology.spans import Span
from clinlm.text.tags import Tags

METRICS = ("accuracy", *FOUND, *WORD_METRICS)
"""Keys of `EntityEvaluation.quality()`, in the order of reports. All lie in [0, 1]; higher is better."""


@final
@dataclass(frozen=True)
class EntityEvaluation(Evaluation):
    """Spans of documents, decoded from the most probable tags.

    Precision, recall and F1 are those of entities, strict, with `relaxed_` before their names relaxed (see
    `clinlm.metrics.entities`); `accuracy` is the share of words with the right tag; AUROC and AUPRC rank words (see
    `clinlm.metrics.entities.word_ranking`).

    Attributes:
        words: of every document, see `clinlm.text.words`.
        truth: spans of every document, flat.
        probabilities: of the tags of all words, document after document.
    """

    tags: Tags
    words: Sequence[Int[np.ndarray, "_ 2"]]
    truth: Sequence[Sequence[Span]]
    probabilities: Float[np.ndarray, "words tags"]

    @property
    def documents(self) -> int:  # type: ignore[override]
        """See `Evaluation`."""
        return len(self.words)

    @cached_property
    def word_start(self) -> Int[np.ndarray, " documents_and_end"]:
        """Where the words of each document begin, and their end as the last entry."""
        return np.cumsum([0, *map(len, self.words)], dtype=np.int64)

    @cached_property
    def decisions(self) -> Int[np.ndarray, " words"]:
        """The tag of every word; of equally probable ones the first."""
        found: Int[np.ndarray, " words"] = self.probabilities.argmax(axis=1)
        return found

    @cached_property
    def found(self) -> list[list[Span]]:
        """The spans decoded, of every document."""
        each = np.split(self.decisions, self.word_start[1:-1])
        return [self.tags.decode(own, around) for own, around in zip(each, self.words, strict=True)]

    @cached_property
    def _right(self) -> Int[np.ndarray, " words"]:
        each = [self.tags.encode(own, around) for own, around in zip(self.truth, self.words, strict=True)]
        return np.concatenate(each)

    def only(self, chosen: Int[np.ndarray, " chosen"]) -> Self:
        words, truth = [self.words[number] for number in chosen], [self.truth[number] for number in chosen]
        kept = np.concatenate([np.arange(*self.word_start[number : number + 2]) for number in chosen])
        return replace(self, words=words, truth=truth, probabilities=self.probabilities[kept])

    def counts(self, match: Match) -> Counts:
        """Return how many entities of each label are found, too many and missed in each document."""
        return self._strict if match == "strict" else self._relaxed

    @cached_property
    def _strict(self) -> Counts:
        return counts(self.truth, self.found, self.tags.labels, "strict")

    @cached_property
    def _relaxed(self) -> Counts:
        return counts(self.truth, self.found, self.tags.labels, "relaxed")

    def weighted(self, weights: Weights) -> dict[str, Values]:
        values = weighted_entity_quality(self._strict, self._relaxed, weights)
        values |= word_ranking(self._right, self.probabilities, self.word_start, weights)
        right = np.add.reduceat(np.append(self.decisions == self._right, False), self.word_start[:-1])
        each = np.diff(self.word_start)
        right = np.where(each > 0, right, 0)  # reduceat gives a document without words its neighbour's first
        with np.errstate(invalid="ignore"):  # a resample of documents without words
            values["accuracy"] = (weights @ right) / (weights @ each)
        return {name: values[name] for name in METRICS}

    def per_label(self) -> pl.DataFrame:
        """See `Evaluation.per_label`: the scores again relaxed, and no ranking."""
        return entities_per_label(self._strict, self._relaxed)

    def entity_metrics(self, weights: Weights) -> dict[str, Values]:
        """Return `weighted` without accuracy and the ranking of words, which is slow."""
        return weighted_entity_quality(self._strict, self._relaxed, weights)

    def label_intervals(self, resamples: int = 1000, seed: int = 0, groups: Groups | None = None) -> pl.DataFrame:
        """Return the table of `per_label` with 95 % intervals: `_low` and `_high` of every score.

        Args:
            resamples, seed, groups: see `clinlm.metrics.bootstrap.draw`.
        """
        names = [prefix + metric for prefix in ("", "relaxed_") for metric in ("precision", "recall", "f1")]

        def metrics(weights: Weights) -> dict[str, Values]:
            found: dict[str, Values] = {}
            for column, label in enumerate(self.tags.labels):
                alone = self._strict.only(column), self._relaxed.only(column)
                values = weighted_entity_quality(*alone, weights)  # micro, macro and weighted means are the same
                found |= {f"{label} {name}": values[_micro(name)] for name in names}
            return found

        ends = intervals(metrics, self.documents, resamples, seed, groups)
        columns = {
            f"{name}_{end}": [getattr(ends[f"{label} {name}"], end) for label in self.tags.labels]
            for name in names
            for end in ("low", "high")
        }
        return self.per_label().with_columns(pl.Series(name, values) for name, values in columns.items())

    def agreement(
        self, other: "EntityEvaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> Agreement:
        return word_agreement(self.decisions, other.decisions, self.word_start, resamples, seed, groups)

    def alike(self, found: Agreement) -> Interval:
        return found.cells

    def gap(
        self,
        reference: "EntityEvaluation",
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Interval:
        """See `Evaluation.gap`: strict."""
        names = [name for name in np.unique(column) if name != UNKNOWN and (column == name).sum() >= smallest]
        if len(names) < 2:
            return Interval(math.nan, math.nan, math.nan)
        drawn = resample(self.documents, resamples, seed, groups)
        gaps = []
        for evaluation in (reference, self):
            scores = np.stack([_micro_f1(evaluation.counts("strict"), drawn * (column == name)) for name in names])
            gaps.append(scores.max(axis=0) - scores.min(axis=0))
        return Interval.percentile(gaps[1] - gaps[0])


def _micro(name: str) -> str:
    return name.replace("relaxed_", "relaxed_micro_") if name.startswith("relaxed_") else f"micro_{name}"


def _micro_f1(found: Counts, weights: Weights) -> Values:
    """Return the micro F1 of every row of weights; NaN where nothing is true and nothing found."""
    hit, wrong = (weights @ counted.sum(axis=1) for counted in (found.hits, found.extra + found.missed))
    whole = 2 * hit + wrong
    return np.asarray(np.divide(2 * hit, whole, out=np.full(len(weights), np.nan), where=whole > 0))
