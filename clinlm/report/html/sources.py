"""What the sections of the page are made from: the comparison, the run that it is about, and their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from clinlm.pipeline.run_record import RunRecord
from clinlm.report.baselines import BASELINES
from clinlm.report.html.words import known_or
from clinlm.report.results import ModelResult
from clinlm.report.written import TABLE, WrittenReport, read_json
from clinlm.store.content import recorded_json, sealed

DETAILED = 8
"""Models that have their numbers by label and their curves on the page, at most."""
CHAINS = 6
"""Pipelines whose stages are drawn, at most."""


@final
@dataclass(frozen=True)
class Sources:
    """What the sections read.

    Attributes:
        metric: that training monitored.
        subject: the result that the comparison is about.
        about: the result that the answer is about: the subject, or a baseline to use instead.
    """

    written: WrittenReport
    metric: str
    subject: ModelResult
    about: ModelResult
    split: str

    @property
    def results(self) -> Sequence[ModelResult]:
        """All results, in the order of the table."""
        return self.written.results

    @property
    def runs(self) -> Sequence[RunRecord]:
        """The finished pipelines."""
        return self.written.runs

    @cached_property
    def run(self) -> RunRecord | None:
        """The pipeline that the subject ends, or the only one; None if its record is not in the folder."""
        return self.runs[self._number] if self.runs else None

    @cached_property
    def place(self) -> Path:
        """The folder of that run."""
        return self.written.places[self._number] if self.written.places else self.written.folder

    @cached_property
    def _number(self) -> int:
        origin = self.subject.deployment.get("of", self.subject.name)
        folders = {own.name: own.lineage.folder for own in self.results}
        ends = [run.stages[-1].folder for run in self.runs]
        return ends.index(folders[origin]) if folders.get(origin) in ends else 0

    def detailed(self) -> list[ModelResult]:
        """Return the models with numbers by label and curves; see `detailed_results`."""
        return detailed_results(self.results, self.subject, self.metric)

    def chains(self) -> list[tuple[RunRecord, Path]]:
        """Return the pipelines that are drawn, each with its folder: that of the subject, then in order."""
        if not self.written.places:
            return []
        pairs = list(zip(self.runs, self.written.places, strict=True))
        first = pairs[self._number : self._number + 1]
        return [*first, *(pair for pair in pairs if pair not in first)][:CHAINS]

    @cached_property
    def reports(self) -> Mapping[str, Mapping[str, Any]]:
        """Folder of an artifact -> its report.json, of all stages that are shown; empty where the store is not here."""
        shown = [*filter(None, [self.run]), *(run for run, _ in self.chains())]
        folders = dict.fromkeys(stage.folder for run in shown for stage in run.stages)
        stored = {folder: Path(folder) for folder in folders}
        return {folder: recorded_json(own, "report.json") if sealed(own) else {} for folder, own in stored.items()}

    def file(self, name: str, place: Path | None = None) -> Any | None:
        """Return the contents of a JSON file of the subject's run, or of another folder; None without it."""
        return read_json((place or self.place) / name)

    @cached_property
    def validation(self) -> dict[str, Any] | None:
        """Return validation.json of the subject's run, its models by their names in the table; None without it."""
        found = self.file("validation.json")
        if found is None or self.subject.splits is not None:  # over several splits, that of one says little
            return None
        names = {found["compressed"]: self.subject.deployment.get("of", self.subject.name)}
        names[found["original"]] = self.subject.reference or found["original"]
        tempered = ", tempered"
        names |= {f"{name}{tempered}": f"{own}{tempered}" for name, own in list(names.items())}
        parts = ("calibration", "temperatures")
        renamed = {part: {names.get(name, name): own for name, own in found[part].items()} for part in parts}
        return {**found, **renamed, "compressed": names[found["compressed"]], "original": names[found["original"]]}

    def stage_rows(self, place: Path) -> dict[str, dict[str, Any]]:
        """Return stage -> its row of the table of a run; empty where the folder has none."""
        if place == self.written.folder and self.written.is_sweep:
            return {}
        content = self.file(f"{TABLE}.json", place)
        return {row["name"]: row for row in content["rows"]} if content else {}


def detailed_results(results: Sequence[ModelResult], subject: ModelResult, metric: str) -> list[ModelResult]:
    """Return `DETAILED` results at most, in order: the subject, its original, TF-IDF, then the best on validation.

    Of the others, those that nothing dominates come first.
    """
    by_name = {own.name: own for own in results}
    wanted = [subject, by_name.get(subject.reference, subject), *(own for own in results if own.name in BASELINES)]
    ranked = sorted(results, key=lambda own: -known_or(own.validation.get(metric), -1.0))
    wanted += [own for own in ranked if not own.dominated_by] + ranked
    names = [*dict.fromkeys(own.name for own in wanted if own.quality)][:DETAILED]
    return [own for own in results if own.name in names]
