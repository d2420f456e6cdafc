"""What a run knows about one of its models, as sentences and tables that model cards and clinical reports share."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self, final

from clinlm.metrics.bootstrap import Interval
from clinlm.models.artifact import Artifact
from clinlm.pipeline.gates import spell_out
from clinlm.pipeline.run_record import RunRecord, StageRecord
from clinlm.report import cells
from clinlm.report.cards.privacy import without_paths
from clinlm.report.results import ModelResult, decode_interval
from clinlm.report.written import WrittenReport, read_json
from clinlm.store.content import read_record, sealed, verified
from clinlm.text.group_floor import LearntTerms
from clinlm.training.method_report import method_reports

VALIDATION: Final = "validation.json"
KINDS: Final[Mapping[str, str]] = {
    "MultiLabel": "multi-label classification of clinical notes",
    "MultiClass": "classification of clinical notes into exactly one class",
    "Entities": "recognition of spans (named entities) in clinical notes",
}
"""Class of a task -> what a model of it does."""
PUBLIC: Final[Mapping[str, str]] = {
    "MTSamples": "MTSamples (transcribed sample reports, public)",
    "Mimic3": "MIMIC-III (PhysioNet, credentialed access)",
    "Mimic3Notes": "MIMIC-III (PhysioNet, credentialed access)",
    "Mimic3Outcomes": "MIMIC-III (PhysioNet, credentialed access)",
    "Mimic4Notes": "MIMIC-IV-Note (PhysioNet, credentialed access)",
    "Mimic4Outcomes": "MIMIC-IV and MIMIC-IV-Note (PhysioNet, credentialed access)",
    "Synthetic": "generated notes (synthetic, no patients)",
    "SyntheticEntities": "generated notes (synthetic, no patients)",
    "Complaints": "generated complaints (synthetic, no patients)",
}
"""Class of a corpus that is the same for everybody -> its name; other corpora are not named."""
UNNAMED: Final = "notes of the site that trained it (not named here)"
METRICS: Final[Sequence[str]] = (
    "micro_f1",
    "macro_f1",
    "weighted_f1",
    "micro_precision",
    "micro_recall",
    "macro_auroc",
    "macro_auprc",
)
"""Metrics of a card, as far as a task has them; of a task without any of them, all that it has."""


@final
@dataclass(frozen=True)
class ModelFacts:
    """One model of a comparison, the run that built it, and its validation against the original.

    Attributes:
        result: of the model, or of its deployment.
        results: all of the comparison.
        run: one that has the model among its stages; of a baseline the first of the comparison.
        validation: contents of validation.json, if it is about this model; else None.
        notices: about the task and all results.
        conclusion: sentences about all results.
    """

    result: ModelResult
    results: tuple[ModelResult, ...]
    run: RunRecord
    validation: Mapping[str, Any] | None
    notices: tuple[str, ...]
    conclusion: tuple[str, ...]

    @classmethod
    def of(cls, result: ModelResult, report: WrittenReport) -> Self:
        """Return the facts about a result of a report, which has at least one run."""
        runs = report.runs
        run = next((run for run in runs if any(own.folder == result.lineage.folder for own in run.stages)), runs[0])
        return cls(result, report.results, run, _validation(result, report), report.notices, report.conclusion)

    @property
    def split(self) -> str:
        """The documents that its numbers are of."""
        return self.run.split

    @property
    def name(self) -> str:
        """Pipeline and stage, or the name of the baseline."""
        lineage = self.result.lineage
        engine = f" on {self.result.engine}" if self.result.deployment else ""
        return f"{lineage.stage} of pipeline {lineage.pipeline}{engine}" if lineage.stage else self.result.name

    @property
    def kind(self) -> str:
        """What it does, in words."""
        return KINDS.get(_class(self.run.task.settings), "classification of clinical notes")

    @property
    def by_word(self) -> bool:
        """Whether it answers for every word."""
        return _class(self.run.task.settings) == "Entities"

    @property
    def labels(self) -> list[str]:
        """Names of what it tells apart."""
        return [str(row["label"]) for row in self.result.per_label]

    @property
    def corpus(self) -> str:
        """What its notes are, as far as that may be named."""
        return PUBLIC.get(self.corpus_class, UNNAMED)

    @property
    def corpus_class(self) -> str:
        """The class that read the corpus."""
        return _class(self.run.task.settings.get("corpus", {}))

    @cached_property
    def reference(self) -> ModelResult | None:
        """The result that it is compared with; None for a reference, and where it is not in the comparison."""
        return next((own for own in self.results if own.name == self.result.reference != self.result.name), None)

    @cached_property
    def stages(self) -> list[tuple[StageRecord, Artifact]]:
        """The stages that it was built by: its ancestors and their teachers, and itself; none of a baseline."""
        stored = [(own, Path(own.folder)) for own in self.run.stages]
        found = {own.folder: (own, Artifact(verified(folder))) for own, folder in stored if sealed(folder)}
        by_key = {artifact.key: folder for folder, (_, artifact) in found.items()}
        wanted, kept = [self.result.lineage.folder], set[str]()
        while wanted:
            folder = wanted.pop()
            if folder in found and folder not in kept:
                kept.add(folder)
                parents = found[folder][1].record.get("parents", {})
                keys = [parents.get("start"), *parents.get("teachers", ())]
                wanted += [by_key[key] for key in keys if key in by_key]
        return [own for folder, own in found.items() if folder in kept]

    @property
    def own_artifact(self) -> Artifact | None:
        """Its artifact; of a deployment the one that was exported. None of a baseline."""
        return next((artifact for own, artifact in self.stages if own.folder == self.result.lineage.folder), None)

    @property
    def techniques(self) -> list[str]:
        """How it was compressed, in words."""
        return [spell_out(technique) for technique in self.result.lineage.techniques]

    def documents(self) -> str:
        """Return how many notes there are, and in which parts."""
        facts = self.run.task.facts
        parts = [f"{facts[part]:,} {part}" for part in ("train", "validation", "test") if part in facts]
        groups = f" of {facts['groups']:,} groups (patients)" if facts.get("groups") else ""
        return f"{facts.get('documents', 0):,} notes{groups}: {', '.join(parts)}"

    def metrics(self) -> list[str]:
        """Return the metrics to show."""
        known = [metric for metric in METRICS if metric in self.result.quality]
        return known or [*self.result.quality]

    def estimates(self) -> dict[str, Interval]:
        """Return metric -> value with its 95 % interval, NaN where none was computed."""
        found = {}
        for metric in self.metrics():
            own = self.result.intervals.get(metric)
            value = self.result.quality[metric]
            found[metric] = Interval(value, math.nan, math.nan) if own is None else Interval(value, own.low, own.high)
        return found

    def quality_lines(self) -> list[str]:
        """Return every shown metric with its interval and the difference to the reference, a sentence each."""
        lines = []
        for metric, own in self.estimates().items():
            said = f"{cells.spelled(metric)} {shown_share(own)}"
            change = self.result.differences.get(metric)
            if change is not None and self.reference is not None:
                said += f"; against {self.result.reference} {shown_points(change)}"
            lines.append(said)
        return lines

    def verdict(self) -> str:
        """Return the non-inferiority verdict; "" where none was made."""
        own = self.result.non_inferiority
        if own is None:
            return ""
        caveat = f" ({own.caveat})" if own.caveat else ""
        return (
            f"{own.verdict} to {self.result.reference}: {cells.spelled(own.metric)} {shown_points(own.difference)}, "
            f"margin {100 * own.margin:g} points{caveat}"
        )

    def margin(self) -> str:
        """Return the non-inferiority margin and when it was fixed; "" where none was."""
        own = self.run.protocol
        if own is None:
            return ""
        when = f" ({own.caveat})" if own.caveat else ", before any result"
        points = f"{100 * own.margin:g} points of {cells.spelled(own.metric)}"
        return f"non-inferiority margin of {points}, fixed on {own.fixed}{when}"

    def gate_lines(self) -> list[str]:
        """Return a line for every gate."""
        of = self.result.deployment.get("of", self.result.name)
        judged = self.result.gates or next((own.gates for own in self.results if own.name == of), ())
        return [f"{gate.gate}: {'passes' if gate.passed else f'fails ({gate.reasons()})'}" for gate in judged]

    def subgroup_rows(self) -> list[list[str]]:
        """Return attribute, subgroup, documents, quality of the original and of the compressed model."""
        rows = []
        for attribute, gap in (self.validation or {}).get("fairness", {}).items():
            for own in gap["subgroups"]:
                values = [shown_share(decode_interval(own[which])) for which in ("original", "compressed")]
                rows.append([attribute, own["name"], f"{own['documents']:,}", *values])
        return rows

    def subgroup_estimates(self) -> list[tuple[str, Interval]]:
        """Return attribute and subgroup, and the quality of this model there."""
        return [
            (f"{attribute} {own['name']}: {cells.spelled(gap['metric'])}", decode_interval(own["compressed"]))
            for attribute, gap in (self.validation or {}).get("fairness", {}).items()
            for own in gap["subgroups"]
        ]

    def safety_estimates(self) -> dict[str, Interval]:
        """Return the shares that say how far the model may be relied on: agreement, calibration error and coverage."""
        found = self.validation or {}
        named = {"cells": "decisions equal to the original's", "documents": "documents decided as by the original"}
        kept = {text: decode_interval(found["agreement"][name]) for name, text in named.items() if "agreement" in found}
        error = found.get("calibration", {}).get(self.result.deployment.get("of", self.result.name))
        kept |= {"expected calibration error": decode_interval(error["ece"])} if error else {}
        levels = self.result.uncertainty.levels if self.result.uncertainty is not None else ()
        return kept | {f"true labels within sets made for {level.coverage:.0%}": level.sets for level in levels}

    def gap_lines(self) -> list[str]:
        """Return, of every attribute, how compression changes the gap between best and worst subgroup."""
        lines = []
        for attribute, gap in (self.validation or {}).get("fairness", {}).items():
            change = decode_interval(gap["difference"])
            told = "too few documents to compare" if math.isnan(change.value) else f"changes by {shown_points(change)}"
            lines.append(f"gap of {cells.spelled(gap['metric'])} between subgroups of {attribute} {told}")
        return lines

    def calibration_lines(self) -> list[str]:
        """Return the calibration error of every model of the validation, and how compression changes it."""
        found = self.validation or {}
        lines = [
            f"{name}: ECE {shown_share(decode_interval(own['ece']))}, "
            f"Brier score {decode_interval(own['brier']).value:.4f}"
            for name, own in found.get("calibration", {}).items()
        ]
        change = found.get("calibration_change", {}).get("ece")
        return [*lines, *([f"ECE changes by {shown_points(decode_interval(change))}"] if change else [])]

    def agreement_lines(self) -> list[str]:
        """Return how often the decisions are those of the original."""
        found = self.validation or {}
        agreement, patterns = found.get("agreement"), found.get("patterns", ())
        if not agreement:
            return []
        systematic = sum(bool(own.get("systematic")) for own in patterns)
        return [
            f"equal decisions in {shown_share(decode_interval(agreement['cells']))} of documents x labels and in "
            f"{shown_share(decode_interval(agreement['documents']))} of documents; Cohen's kappa "
            f"{decode_interval(agreement['kappa']).value:.3f}",
            f"{systematic} systematic patterns of disagreement among {len(patterns)} features tested",
        ]

    def uncertainty_lines(self) -> list[str]:
        """Return what the sets of possible labels held."""
        own = self.result.uncertainty
        return [
            f"sets made for {level.coverage:.0%} held {shown_share(level.sets)} of the true labels "
            f"({level.set_size.value:.2f} labels a set); {shown_share(level.answered)} of notes fully answered"
            for level in (own.levels if own is not None else ())
        ]

    def cost_lines(self) -> list[str]:
        """Return size, memory and latency, with the machine that they were measured on."""
        own, latency = self.result, self.result.latency
        lines = [f"{own.parameters:,} parameters, {own.nonzero:,} of them not 0; {own.bytes / 2**20:.1f} MiB on disk"]
        if self.reference is not None and not math.isnan(own.compression_bytes):
            lines.append(f"{cells.times(own.compression_bytes)} smaller on disk than {own.reference}")
        if own.peak_mib is not None:
            lines.append(f"loading and running it takes {own.peak_mib:.0f} MiB of memory")
        if latency is not None:
            lines.append(
                f"a note takes {cells.three(latency.p50_ms)} ms from text to decisions (p50; p90 "
                f"{cells.three(latency.p90_ms)}, p99 {cells.three(latency.p99_ms)}; {latency.documents} notes, one at "
                f"a time), {cells.times(latency.speedup)} as fast as {own.reference}"
            )
        lines += [f"timed on {machine}" for machine in [self.machine()] if machine]
        return lines

    def machine(self) -> str:
        """Return what latencies were measured on; "" where nothing was timed."""
        latency = self.result.latency
        if latency is None or latency.hardware is None:
            return ""
        busy = "" if latency.busy is None else f", other processes used {latency.busy:.0%} of the cores"
        return f"{latency.hardware}{busy}, {latency.hardware.date}"

    def vocabulary_lines(self) -> list[str]:
        """Return what vocabularies took from the training notes: of every stage that learnt one, or of a baseline."""
        found = {own.name: artifact.report.get("vocabulary") for own, artifact in self.stages}
        if self.result.kind == "baseline" and self.result.key:
            place = Path(self.run.store) / self.result.key
            found[self.result.name] = read_record(place).get("vocabulary") if sealed(place) else None
        return [f"vocabulary of {name}: {LearntTerms(**learnt)}" for name, learnt in found.items() if learnt]

    def limits(self) -> list[str]:
        """Return the notices about the task and this model, without paths."""
        every = dict.fromkeys((*self.run.task.notices, *self.notices, *self.result.notices))
        said = [notice for notice in every if not any(other.startswith(notice) for other in every if other != notice)]
        return [without_paths(notice) for notice in said]

    def method_rows(self) -> list[list[str]]:
        """Return, of every stage it was built by: name, role, methods, epochs, parameters, MiB and key."""
        rows = []
        for own, artifact in self.stages:
            report = artifact.report
            methods = [
                f"{name} {method.summary}".strip()
                for name, method in method_reports(report).items()
                if method.summary or name not in ("keep_best", "checkpoint")
            ]
            told = [without_paths(method) for method in methods]
            told += [f"learns from {', '.join(own.teachers)}"] if own.teachers else []
            size = f"{report.get('bytes', 0) / 2**20:.1f}"
            row = [own.name, own.role, "; ".join(told) or cells.NONE, str(report.get("epochs", cells.NONE))]
            rows.append([*row, f"{report.get('parameters', 0):,}", size, artifact.key])
        return rows


def _validation(result: ModelResult, report: WrittenReport) -> Mapping[str, Any] | None:
    """Return the validation of a compressed model, from the folder of its run; None where it has none."""
    if not result.lineage.stage or not result.lineage.original:
        return None
    for run, place in zip(report.runs, report.places, strict=False):
        if any(stage.folder == result.lineage.folder for stage in run.stages):
            content: dict[str, Any] | None = read_json(place / VALIDATION)
            if content is not None and content["compressed"] == result.lineage.stage:
                return content
    return None


def shown_share(own: Interval) -> str:
    """Return a share with its interval, in per cent."""
    ends = cells.percent_range(own.low, own.high)
    return f"{cells.percent(own.value)} %" + (f" ({ends})" if ends != cells.NONE else "")


def shown_points(own: Interval) -> str:
    """Return a difference with its interval, in points."""
    ends = cells.points_range(own.low, own.high)
    return f"{cells.points(own.value)} points" + (f" ({ends})" if ends != cells.NONE else "")


def _class(settings: Mapping[str, Any]) -> str:
    return re.sub(r".*\.", "", str(settings.get("_target_", "")))
