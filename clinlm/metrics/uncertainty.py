"""Uncertainty of a model on a split: coverage and size of its sets, abstention, and how compression changes them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self, final

import numpy as np
from jaxtyping import Bool, Float

from clinlm.metrics.bootstrap import Interval, Values, Weights
from clinlm.metrics.scored_answers import ScoredAnswers, mean_over_units
from clinlm.metrics.selective import RiskCurve, log_odds_margin

ANSWERED: Final = 0.8
"""Share of answers that remain in the numbers about abstention."""

SHARES: Final = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Shares of answers at which a curve is stored."""

MOST_LABELS: Final = 50
"""Tasks with more labels have numbers by label without bootstrap intervals, which would take minutes."""

COVERED: Final = ("sets", "present", "absent")
"""The coverages of a level: of the sets, and of presence and absence in the mean over labels."""


@final
@dataclass(frozen=True)
class LabelCoverage:
    """Measured coverage of one label, with binomial intervals; NaN where the split has no such unit.

    Attributes:
        support: number of notes (words) with the label.
        sets: of these, the share whose set holds it. Only the mean over all labels is promised.
        present: of these, the share whose presence is not excluded.
        absent: of the others, the share whose absence is not excluded.
        undecided: of all, the share where it is undecided.
    """

    label: str
    support: int
    sets: Interval
    present: Interval
    absent: Interval
    undecided: float


@final
@dataclass(frozen=True)
class LevelUncertainty:
    """The sets of a model at one coverage.

    Attributes:
        coverage: nominal.
        sets: measured share of the true labels of a note (entity words of a document) that its set holds.
        present: measured share of notes with a label whose presence is not excluded, in the mean over labels.
        absent: the same of notes without it; NaN where labels are not independent, as no threshold excludes absence.
        set_size: mean number of labels in a set (tags, of a word).
        undecided: share of notes x labels that are undecided; where exactly one is true, of units without exactly one
            possible label.
        answered: share of documents fully answered: nothing that matters is undecided, see `PredictionSets`.
        answered_risk: of these, the share with a wrong answer in any label; NaN where none is answered.
        changes: these, own minus the reference's; empty for a reference.
    """

    coverage: float
    sets: Interval
    present: Interval
    absent: Interval
    set_size: Interval
    undecided: Interval
    answered: Interval
    answered_risk: Interval
    changes: dict[str, Interval] = field(default_factory=dict)
    labels: tuple[LabelCoverage, ...] = ()


@final
@dataclass(frozen=True)
class LabelRisk:
    """Abstention on one label: the decisions on it of least confidence are left out.

    Attributes:
        risk, risk_answered: share of wrong decisions: of all, and of the `ANSWERED` most confident.
        missed, missed_answered: of notes with the label, the share decided without it: of all, and of those that are
            still answered.
        aurc: see `clinlm.metrics.selective`.
        rise: risk_answered - risk: above 0 where abstaining makes the answers worse.
        missed_rise: missed_answered - missed: above 0 where the answers that remain miss more of those with the label.
        change: aurc, own minus the reference's; None for a reference.
    """

    label: str
    risk: float
    risk_answered: float
    missed: float
    missed_answered: float
    aurc: Interval
    rise: Interval
    missed_rise: Interval
    change: Interval | None = None


@final
@dataclass(frozen=True)
class Uncertainty:
    """What a model knows about its own errors, on one split.

    Attributes:
        unit: what is answered or not: notes, or words.
        levels: one a coverage.
        risk: share of units with a wrong answer, in any label.
        risk_answered: the same of the `ANSWERED` most confident.
        aurc: area below the risk-coverage curve.
        label_aurc: the mean over labels of the areas of their decisions.
        changes: risk, risk_answered, aurc and label_aurc, own minus the reference's; empty for a reference.
        curve: risk at each of `SHARES`.
        labels: by label.
    """

    unit: str
    levels: tuple[LevelUncertainty, ...]
    risk: Interval
    risk_answered: Interval
    aurc: Interval
    label_aurc: Interval
    changes: dict[str, Interval]
    curve: tuple[float, ...]
    labels: tuple[LabelRisk, ...]

    def level(self, coverage: float) -> LevelUncertainty:
        """Return the level of a coverage, which must be among those measured."""
        return next(own for own in self.levels if abs(own.coverage - coverage) < 1e-9)


Drawn = Mapping[str, Float[np.ndarray, " _"]]
"""Numbers by name, in every resample; those by label of more than `MOST_LABELS` on the documents as they are alone."""


@final
@dataclass(frozen=True)
class DrawnUncertainty:
    """The numbers of one model in every resample, so that two models can be compared in pairs.

    Attributes:
        answers: of the model.
        levels: coverage -> name -> values.
        selective: name -> values.
        labels: one mapping an output.
        curve: risk at each of `SHARES`.
    """

    answers: ScoredAnswers
    levels: Mapping[float, Drawn]
    selective: Drawn
    labels: tuple[Drawn, ...]
    curve: tuple[float, ...]

    @classmethod
    def of(cls, answers: ScoredAnswers, weights: Weights) -> Self:
        """Compute the numbers.

        Args:
            weights: the documents as they are, then the resamples; see `clinlm.metrics.bootstrap.resample`.
        """
        levels = {coverage: level_values(answers, coverage, weights) for coverage in answers.sets}
        wrong, confidence, by_label = _confidence(answers)
        whole = RiskCurve.of(confidence, wrong, np.zeros_like(wrong), answers.documents, weights)
        fewer = weights if len(answers.labels) <= MOST_LABELS else weights[:1]
        labels = tuple(_label_values(answers, column, by_label[:, column], fewer) for column in _outputs(answers))
        selective = {"risk": whole.risk(1.0), "risk_answered": whole.risk(ANSWERED), "aurc": whole.area()}
        selective["label_aurc"] = np.mean([own["aurc"] for own in labels], axis=0)
        return cls(answers, levels, selective, labels, tuple(float(whole.risk(share)[0]) for share in SHARES))

    def measured(self, reference: "DrawnUncertainty | None") -> Uncertainty:
        """Return the numbers with intervals, and how they differ from those of a reference on the same resamples."""
        means = {name: Interval.percentile(values) for name, values in self.selective.items()}
        levels = tuple(self._level(coverage, reference) for coverage in self.levels)
        changes = {} if reference is None else _changes(self.selective, reference.selective)
        others = [None] * len(self.labels) if reference is None else reference.labels
        names = [self.answers.labels[column] for column in _outputs(self.answers)]
        each = zip(names, self.labels, others, strict=True)
        unit = "words" if self.answers.kind == "entities" else "notes"
        return Uncertainty(
            unit, levels, **means, changes=changes, curve=self.curve, labels=tuple(_label_risk(*own) for own in each)
        )

    def _level(self, coverage: float, reference: "DrawnUncertainty | None") -> LevelUncertainty:
        values, answers, sets = self.levels[coverage], self.answers, self.answers.sets[coverage]
        found = {name: Interval.percentile(own) for name, own in values.items()}
        found["sets"] = answers.set_coverage(sets.possible).intervals()[0]
        held, present = (
            answers.class_coverage(answers.targets, own).intervals() for own in (sets.possible, sets.present)
        )
        absent = [Interval(math.nan, math.nan, math.nan)] * len(answers.labels)
        if answers.kind == "multilabel":
            absent = answers.class_coverage(~answers.targets, sets.absent).intervals()
        support, undecided = answers.targets.sum(axis=0).tolist(), sets.undecided.mean(axis=0).tolist()
        each = zip(answers.labels, support, held, present, absent, undecided, strict=True)
        labels = tuple(LabelCoverage(*own) for own in list(each)[_outputs(answers).start :])
        changes = {} if reference is None else _changes(values, reference.levels[coverage])
        return LevelUncertainty(coverage, **found, changes=changes, labels=labels)


def level_values(answers: ScoredAnswers, coverage: float, weights: Weights) -> dict[str, Values]:
    """Return the numbers of `LevelUncertainty` in every resample, by name."""
    sets, kept = answers.sets[coverage], _outputs(answers)
    undecided = sets.undecided.mean(axis=1) if answers.kind == "multilabel" else sets.abstained
    whole = answers.by_document(sets.abstained[:, None])[:, 0] == 0
    wrong = answers.by_document((answers.decided != answers.targets).any(axis=1)[:, None])[:, 0] > 0
    answered = weights @ whole
    present = answers.class_coverage(answers.targets, sets.present).values(weights)[:, kept]
    absent = np.full_like(present, np.nan)
    if answers.kind == "multilabel":
        absent = answers.class_coverage(~answers.targets, sets.absent).values(weights)[:, kept]
    return {
        "sets": answers.set_coverage(sets.possible).values(weights)[:, 0],
        "present": _mean(present),
        "absent": _mean(absent),
        "set_size": mean_over_units(answers, sets.possible.sum(axis=1), weights),
        "undecided": mean_over_units(answers, undecided, weights),
        "answered": answered / weights.sum(axis=1),
        "answered_risk": np.divide(
            weights @ (whole & wrong), answered, out=np.full_like(answered, np.nan), where=answered > 0
        ),
    }


def _outputs(answers: ScoredAnswers) -> range:
    """Return the outputs that numbers are about: all but the tag of words outside of entities."""
    return range(int(answers.kind == "entities"), len(answers.labels))


def _mean(values: Float[np.ndarray, "resamples labels"]) -> Values:
    """Return the mean over the labels that a resample has."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))


def _confidence(
    answers: ScoredAnswers,
) -> tuple[Bool[np.ndarray, " units"], Float[np.ndarray, " units"], Float[np.ndarray, "units outputs"]]:
    """Return whether each unit is wrong in some label, the confidence of its answer, and that of every decision."""
    wrong = (answers.decided != answers.targets).any(axis=1)
    if answers.thresholds is not None:
        margins = log_odds_margin(answers.probabilities, answers.thresholds)
        return wrong, margins.min(axis=1), margins
    highest = answers.probabilities.max(axis=1)
    return wrong, highest, np.broadcast_to(highest[:, None], answers.probabilities.shape)


def _label_values(
    answers: ScoredAnswers, column: int, confidence: Float[np.ndarray, " units"], weights: Weights
) -> dict[str, Values]:
    truth = answers.targets[:, column]
    curve = RiskCurve.of(confidence, answers.decided[:, column] != truth, truth, answers.documents, weights)
    return {
        "risk": curve.risk(1.0),
        "risk_answered": curve.risk(ANSWERED),
        "missed": curve.risk_among(1.0),
        "missed_answered": curve.risk_among(ANSWERED),
        "aurc": curve.area(),
    }


def _label_risk(label: str, own: Drawn, reference: Drawn | None) -> LabelRisk:
    values = {name: float(own[name][0]) for name in ("risk", "risk_answered", "missed", "missed_answered")}
    return LabelRisk(
        label,
        **values,
        aurc=Interval.percentile(own["aurc"]),
        rise=_difference(own["risk_answered"] - own["risk"]),
        missed_rise=_difference(own["missed_answered"] - own["missed"]),
        change=None if reference is None else _difference(own["aurc"] - reference["aurc"]),
    )


def _changes(own: Drawn, reference: Drawn) -> dict[str, Interval]:
    return {name: _difference(values - reference[name]) for name, values in own.items()}


def _difference(values: Values) -> Interval:
    """Return a difference with its interval; of many labels, which are not resampled, the value alone."""
    return replace(Interval.difference(values), value=float(values[0]))
