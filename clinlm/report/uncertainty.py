"""What models know about their own errors: sets, abstention, and how compression changes both; measured and written."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import polars as pl

from clinlm.metrics.bootstrap import Interval, Weights, resample
from clinlm.metrics.prediction_sets import LEVEL
from clinlm.metrics.uncertainty import ANSWERED, DrawnUncertainty, LabelRisk, Uncertainty
from clinlm.pipeline.uncertainty import scored_answers
from clinlm.report import cells
from clinlm.report.baselines import ComparedModel
from clinlm.report.plots import save_figure
from clinlm.report.results import ModelResult, json_value
from clinlm.report.tables import change
from clinlm.report.uncertainty_plot import plot_uncertainty
from clinlm.tasks.base import Task
from clinlm.training.teachers.base import Measured

NAME: Final = "uncertainty"
"""Of the files, without ending."""

_FEW: Final = 12
"""Models that have a line for every coverage; of more, the table has the coverage of verdicts only."""

_CHANCE = "the interval of the rise excludes 0; by chance 1 of 40 does, and there are two for every label of a model"
_SETS = ("stage", "nominal %", "covered % (95 %)", "with label %", "without %", "set size", "Δ", "undecided %", "Δ")
_RISKS = (
    "stage",
    "risk %",
    "80 % answered: risk %",
    "Δ",
    "AURC %",
    "Δ",
    "label AURC %",
    "Δ",
    "abstaining raises the risk of",
)


@final
class UncertaintyMeter:
    """Measures the models of a comparison on one split, each once.

    Args:
        bootstrap: resamples, seed and groups of the documents.
    """

    def __init__(self, task: Task, split: Measured, bootstrap: dict[str, Any]) -> None:
        self._task, self._split, self._bootstrap = task, split, bootstrap
        self._weights: Weights | None = None
        self._references: dict[str, DrawnUncertainty] = {}

    def measure(self, predictor: ComparedModel, reference: ComparedModel) -> Uncertainty | None:
        """Return the uncertainty of a model; None of one that has no probabilities, such as the keyword matcher."""
        if predictor.opens is None:
            return None
        if predictor is reference:
            return self._reference(reference).measured(None)
        return self._drawn(predictor).measured(self._reference(reference))

    def _reference(self, predictor: ComparedModel) -> DrawnUncertainty:
        name = predictor.result.name
        if name not in self._references:
            self._references[name] = self._drawn(predictor)
        return self._references[name]

    def _drawn(self, predictor: ComparedModel) -> DrawnUncertainty:
        if self._weights is None:
            documents = len(self._task.examples.members(self._split))
            self._weights = resample(documents, **self._bootstrap)
        # A folder of an older version has no thresholds; they are those of its predictions all the same.
        conformal = predictor.conformal or self._task.fit_conformal(predictor.validation)
        probabilities = predictor.test if self._split == "test" else predictor.validation
        answers = scored_answers(self._task, self._split, probabilities, predictor.thresholds, conformal)
        return DrawnUncertainty.of(answers, self._weights)


def write_uncertainty(results: Sequence[ModelResult], folder: Path, split: str) -> list[str]:
    """Write uncertainty.md, .csv, .json, .svg and .png into `folder`, and return the names of all but the plots.

    Nothing is written, and no name returned, where no result was measured.
    """
    measured = [result for result in results if result.uncertainty is not None]
    if not measured:
        return []
    (folder / f"{NAME}.md").write_text(uncertainty_markdown(measured, split), encoding="utf-8")
    uncertainty_frame(measured).write_csv(folder / f"{NAME}.csv")
    content = {result.name: json_value(result.uncertainty) for result in measured}
    text = json.dumps({"split": split, "models": content}, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / f"{NAME}.json").write_text(text + "\n", encoding="utf-8")
    save_figure(plot_uncertainty(measured, split), folder, NAME)
    return [f"{NAME}.{ending}" for ending in ("md", "csv", "json")]


def _known(results: Sequence[ModelResult]) -> Iterator[tuple[ModelResult, Uncertainty]]:
    return ((result, result.uncertainty) for result in results if result.uncertainty is not None)


def uncertainty_line(result: ModelResult) -> str:
    """Return what a reader would conclude about a measured result, in one sentence or two."""
    own = result.uncertainty
    assert own is not None
    level = own.level(LEVEL)
    kept = f"{100 * LEVEL:.0f} %"
    covered = f"{cells.percent(level.sets.value)} % ({cells.percent_range(level.sets.low, level.sets.high)})"
    short = ", BELOW what is promised" if level.sets.high < LEVEL else ""
    if own.unit == "words":
        what, size, notes = "entity words", "tags a word", "documents"
    else:
        of = f"of {len(own.labels)} " * (len(own.labels) > 1)
        what, size, notes = "true labels", f"{of}labels", "notes"
    answered = f"{cells.percent(level.answered.value)} % of {notes} are fully answered"
    found = f"{result.name}: sets at {kept} hold {covered} of the {what}{short}, with {level.set_size.value:.2f} {size}"
    if not level.changes:
        return f"{found}; {answered}"
    growth, fewer = level.changes["set_size"], level.changes["answered"]
    compared = f"{growth.value:+.2f}{'*' * growth.significant} against {result.reference}"
    return f"{found} ({compared}); {answered} ({cells.points(fewer.value)}{'*' * fewer.significant} points)"


def uncertainty_markdown(results: Sequence[ModelResult], split: str) -> str:
    """Return the conclusions, both tables, and how to read them."""
    lines = "".join(f"- {uncertainty_line(result)}\n" for result, _ in _known(results))
    worse = "".join(
        f"- {line}\n" for result, own in _known(results) if not result.deployment for line in _warnings(result, own)
    )
    few = len(results) <= _FEW
    rows = [row for result, own in _known(results) for row in _set_rows(result, own, every=few)]
    risks = [_risk_row(result, own) for result, own in _known(results)]
    units = next(own.unit for _, own in _known(results))
    return "\n".join(
        [
            f"Measured on {split}.\n\n{lines}",
            *([f"Where abstaining makes the answers worse ({_CHANCE}):\n\n{worse}"] if worse else []),
            cells.grid([*_SETS, "fully answered %", "Δ", "their risk %"], rows) + _sets_note(split, units),
            cells.grid(_RISKS, risks) + _risks_note(units),
        ]
    )


def _warnings(result: ModelResult, own: Uncertainty) -> list[str]:
    riskier = [each for each in own.labels if each.rise.low > 0]
    missing = [each for each in own.labels if each.missed_rise.low > 0]
    found = [f"more often wrong: {_with_values(riskier, 'risk', 'risk_answered')}"] if riskier else []
    found += [f"more often missed: {_with_values(missing, 'missed', 'missed_answered')}"] if missing else []
    return [f"{result.name}, {part}" for part in found]


def _with_values(labels: Sequence[LabelRisk], before: str, after: str) -> str:
    return ", ".join(
        f"{own.label} ({cells.percent(getattr(own, before))} → {cells.percent(getattr(own, after))} %)"
        for own in labels
    )


def _set_rows(result: ModelResult, own: Uncertainty, every: bool) -> Iterator[list[str]]:
    for level in own.levels:
        if not every and level.coverage != LEVEL:
            continue
        changes = {name: change(level.changes.get(name)) for name in ("undecided", "answered")}
        growth = level.changes.get("set_size")
        yield [
            result.name,
            f"{100 * level.coverage:.0f}",
            _share(level.sets) + " †" * (level.sets.high < level.coverage),
            cells.percent(level.present.value),
            cells.percent(level.absent.value),
            cells.two(level.set_size.value),
            _sized(growth),
            cells.percent(level.undecided.value),
            changes["undecided"],
            cells.percent(level.answered.value),
            changes["answered"],
            cells.percent(level.answered_risk.value),
        ]


def _risk_row(result: ModelResult, own: Uncertainty) -> list[str]:
    raised = [each.label for each in own.labels if each.rise.value > 0]
    shown = ", ".join(raised[:3]) + (f" and {len(raised) - 3} more" if len(raised) > 3 else "")
    return [
        result.name,
        _share(own.risk),
        cells.percent(own.risk_answered.value),
        change(own.changes.get("risk_answered")),
        cells.percent(own.aurc.value),
        change(own.changes.get("aurc")),
        cells.percent(own.label_aurc.value),
        change(own.changes.get("label_aurc")),
        shown or "no label",
    ]


def _share(own: Interval) -> str:
    return f"{cells.percent(own.value)} ({cells.percent_range(own.low, own.high)})"


def _sized(own: Interval | None) -> str:
    if own is None or math.isnan(own.low):
        return cells.NONE
    return f"{own.value:+.2f}{'*' * own.significant} ({own.low:+.2f}…{own.high:+.2f})"


def _sets_note(split: str, unit: str) -> str:
    crossed = (
        " Stored thresholds are fitted on all of validation; here either half of its groups is measured by thresholds "
        "fitted on the other, so that no document calibrates itself; sets are a little larger than in use."
        if split == "validation"
        else " Thresholds are those stored with the model, fitted on validation."
    )
    exact = (
        " A word is decided where exactly one tag is possible. Only words of entities are promised anything, and as "
        "the labeler of validation labels them: people may label otherwise on test. Spans as a whole are not measured."
        if unit == "words"
        else " A label is undecided if it is neither surely present nor surely absent; a note is fully answered if "
        "every label that is predicted or in its set is surely as predicted; their risk: those with a wrong label. A "
        "label (or its absence) that fewer than 4, 9 or 19 groups of validation have cannot be excluded at 80, 90 or "
        "95 %: where validation is small, sets hold all labels."
    )
    return (
        "\nCovered: the share of the true labels of a note (of the entity words of a document) that its set holds; a "
        "draw is a group, then a document of it, with binomial 95 % intervals whose number of trials is the effective "
        "one of groups; † marks an interval below nominal. With and without: of the notes with a label (without it), "
        "the share whose presence (absence) is not excluded, in the mean over labels; by label in uncertainty.csv. Δ: "
        "own minus reference, paired bootstrap; a star marks an interval that excludes 0."
        f"{exact}{crossed}\n"
    )


def _risks_note(unit: str) -> str:
    return (
        f"\nRisk: the share of {unit} with a wrong answer in any label. With {100 * ANSWERED:.0f} % answered: the "
        "least confident fifth is left out. AURC: the mean risk of the k most confident over all k; lower is better. "
        "Confidence is the distance of the log odds from those of the decision threshold (of a note the least over its "
        "labels); where exactly one label is true, the highest probability. Label AURC: the mean over labels of the "
        "areas of their decisions. The last column: labels whose decisions are more often wrong among the answers that "
        "remain, by value; uncertainty.csv also has the share of notes with a label that they miss.\n"
    )


def uncertainty_frame(results: Sequence[ModelResult]) -> pl.DataFrame:
    """Return a line for every measured result, coverage and label; shares of 1, NaN where undefined.

    Columns: name, coverage, label, support; sets, present, absent, each with `_low` and `_high`; undecided. The rest is
    the same at every coverage: risk, risk_answered, missed, missed_answered; aurc, rise, missed_rise and change with
    `_low` and `_high`. See `clinlm.metrics.uncertainty`.
    """
    rows = []
    for result, own in _known(results):
        risks = {each.label: each for each in own.labels}
        for level in own.levels:
            for label in level.labels:
                row: dict[str, Any] = {"name": result.name, "coverage": level.coverage, "label": label.label}
                row |= {"support": label.support, "undecided": label.undecided}
                for name in ("sets", "present", "absent"):
                    row |= _ends(name, getattr(label, name))
                risk = risks[label.label]
                row |= {name: getattr(risk, name) for name in ("risk", "risk_answered", "missed", "missed_answered")}
                for name in ("aurc", "rise", "missed_rise", "change"):
                    row |= _ends(name, getattr(risk, name))
                rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _ends(name: str, own: Interval | None) -> dict[str, float | None]:
    ends = (None, None, None) if own is None else (own.value, own.low, own.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
