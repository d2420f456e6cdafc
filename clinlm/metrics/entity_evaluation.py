"""Entities that a model finds in documents, beside those that people see there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from clinlm.metrics.agreement import Agreement
from clinlm.metrics.entities import METRICS as FOUND
from clinlm.metrics.entities import Counts, Match, counts, entities_per_label, weighted_entity_quality
from clinlm.metrics.estimate import Estimate, weights
from clinlm.metrics.evaluation import Evaluation
from clinlm.metrics.fairness import UNKNOWN, Subgroups
from clinlm.metrics.intervals import Groups
from clinlm.metrics.weighted import Values, Weights
from clinlm.metrics.word_agreement import word_agreement
from clinlm.metrics.word_ranking import METRICS as RANKED
from clinlm.metrics.word_ranking import word_ranking
from clinlm.terminology.spans import Span
from clinlm.text.tags import Tags

METRICS = ("accuracy", *FOUND, *RANKED)
"""Keys of `EntityEvaluation.quality()`, in the order of reports. All lie in [0, 1]; higher is better."""


@final
@dataclass(frozen=True)
class EntityEvaluation(Evaluation):
    """Spans of documents, decoded from the most probable tags.

    Precision, recall and F1 are those of entities, strict, with `relaxed_` before their names relaxed (see
    `clinlm.metrics.entities`); `accuracy` is the share of words with the right tag; AUROC and AUPRC rank words (see
    `clinlm.metrics.word_ranking`).

    Attributes:
        tags: of the task.
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

    def counts(self, match: Match) -> Counts:
        """Return how many entities of each label are found, too many and missed in each document."""
        return self._strict if match == "strict" else self._relaxed

    @cached_property
    def _strict(self) -> Counts:
        return counts(self.truth, self.found, self.tags.labels, "strict")

    @cached_property
    def _relaxed(self) -> Counts:
        return counts(self.truth, self.found, self.tags.labels, "relaxed")

    def quality(self) -> dict[str, float]:
        """See `Evaluation.quality`."""
        return {name: float(value[0]) for name, value in self.weighted(np.ones((1, self.documents))).items()}

    def weighted(self, weights: Weights) -> dict[str, Values]:
        """See `Evaluation.weighted`."""
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

    def agreement(
        self, other: "EntityEvaluation", resamples: int = 1000, seed: int = 0, groups: Groups | None = None
    ) -> Agreement:
        """See `Evaluation.agreement`: of the tags of words."""
        return word_agreement(self.decisions, other.decisions, self.word_start, resamples, seed, groups)

    def alike(self, found: Agreement) -> Estimate:
        """See `Evaluation.alike`: of words."""
        return found.cells

    def gap(
        self,
        reference: "EntityEvaluation",
        column: Subgroups,
        smallest: int,
        resamples: int = 1000,
        seed: int = 0,
        groups: Groups | None = None,
    ) -> Estimate:
        """See `Evaluation.gap`: strict."""
        names = [name for name in np.unique(column) if name != UNKNOWN and (column == name).sum() >= smallest]
        if len(names) < 2:
            return Estimate(*[float("nan")] * 3)
        drawn = weights(self.documents, resamples, seed, groups)
        gaps = []
        for one in (reference, self):
            each = np.stack([_micro_f1(one.counts("strict"), drawn * (column == name)) for name in names])
            gaps.append(each.max(axis=0) - each.min(axis=0))
        return Estimate.percentile(gaps[1] - gaps[0])


def _micro_f1(found: Counts, weights: Weights) -> Values:
    """Return the micro F1 of every row of weights; NaN where nothing is true and nothing found."""
    hit, wrong = (weights @ each.sum(axis=1) for each in (found.hits, found.extra + found.missed))
    whole = 2 * hit + wrong
    return np.asarray(np.divide(2 * hit, whole, out=np.full(len(weights), np.nan), where=whole > 0))
