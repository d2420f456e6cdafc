"""The report of one run or of the runs of a sweep: evaluates them, writes the files, prints the end."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from textwrap import wrap
from typing import Any

from clinlm.config.console import make_console
from clinlm.config.targets import instantiate
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import (
    adapters,
    cells,
    entities,
    epochs,
    external,
    gates,
    methods,
    pareto,
    tables,
    uncertainty,
    validation_text,
)
from clinlm.report.baselines import BASELINES
from clinlm.report.cards.model_card import write_model_cards
from clinlm.report.conclusion import conclude, conclusion_markdown
from clinlm.report.evaluation import compare
from clinlm.report.external import ExternalCorpus, open_external
from clinlm.report.grid import grid_cells
from clinlm.report.heat_map import write_grid_map, write_label_map
from clinlm.report.html.page import PAGE, write_page
from clinlm.report.html.sources import detailed_results
from clinlm.report.label_differences import write_label_differences
from clinlm.report.labels import label_table
from clinlm.report.nested import CLOSED, best_on_validation, choice_lines, choose, nested_notices
from clinlm.report.published import Published, write_published
from clinlm.report.results import ModelResult
from clinlm.report.settings import ReportSettings
from clinlm.report.terminal import SCREEN, Ending, shown_path, text_table
from clinlm.report.validation import validate_result
from clinlm.report.written import TABLE, WrittenReport, machine_of, places_of
from clinlm.tasks.base import Task

Inputs = tuple[Task, ExternalCorpus | None]


def open_inputs(run: RunRecord) -> Inputs:
    """Open the task of a run, and its external corpus if it has one."""
    task, key = execution.open_task_from(dict(run.task.settings), Path(run.store))
    outside = None if run.nested else run.external
    return task, None if outside is None else open_external(outside, task, key, Path(run.store))


class Report:
    """Files and screen of one run, or of several on one task.

    Args:
        runs: at least one; settings are those of the first.
        inputs: their task and external corpus, opened.
        stages: compare every stage of the only run; otherwise every teacher and the last stage of every run.
        among: see `clinlm.report.selection.last_stages`.

    With `nested`, everything is of the validation documents; what only test can show is left out.

    Attributes:
        results: of the comparison.
        evaluations, cascade: see `clinlm.report.evaluation.Compared`.
        notices: about the task and all results.
        conclusion: sentences about all results.
        files: names of the files written, in order.
        written: all of it, as `WrittenReport.read` would read it.
    """

    def __init__(
        self,
        runs: Sequence[RunRecord],
        inputs: Inputs,
        folder: Path,
        stages: bool,
        among: Sequence[RunRecord] | None = None,
    ) -> None:
        self._run, self._folder = runs[0], folder
        self._settings: ReportSettings = instantiate(dict(self._run.report))
        self._task, self._external = inputs
        self._metric = self._run.monitor.removeprefix("val/")
        self._shown: list[Any] = []
        self._elsewhere: list[str] = []
        self._split = self._run.split
        compared = compare(runs, self._task, stages, self._split, among)
        self.results, self.evaluations, self.cascade = compared.results, compared.evaluations, compared.cascade
        self._scored = [result for result in self.results if result.quality]
        own = nested_notices(self._task.examples.notices) if self._run.nested else self._task.examples.notices
        self.notices = [*own, *compared.notices]
        self._subject = self.results[-1].name if stages else self.chosen()
        found = conclude(self.results, self._subject, self._metric)
        self._use = found.use
        self.conclusion = [*[f"{CLOSED[0].upper()}{CLOSED[1:]}."] * self._run.nested, *found.sentences]
        written = tables.write_results(self.results, folder, TABLE, self.notices, self.conclusion, self._subject)
        self.files = [path.name for path in written]
        self._write_gates()
        self._write_uncertainty()
        trained = epochs.with_epochs(self.results)
        if trained:
            splits = ["validation"] if self._run.nested else epochs.SPLITS
            epochs.epoch_frame(self._task, trained, splits).write_csv(folder / "epochs.csv")
            self.files.append("epochs.csv")
        if stages:
            self._write_stages(trained)
        else:
            self._write_models(trained)
        self._write_labels()
        self._write_external()
        places = (folder,) if stages else places_of(runs, folder)
        said = tuple(self.results), tuple(self.notices), tuple(self.conclusion), machine_of(self.results), self._subject
        self.written = WrittenReport(folder, tuple(runs), *said, places)
        write_model_cards(self.written)
        self.files.append(write_page(self.written).name)

    def print(self, title: str, subject: str, lines: Sequence[str]) -> None:
        """Print the parts that `report.show` lists, then the end: table, verdict, files, and `lines`."""
        console = make_console()
        for part in self._shown:
            console.print(part, soft_wrap=isinstance(part, str), markup=False)
        notices = (
            f" (with {len(self.notices)} notices)" if len(self.notices) > 1 else " (with a notice)" * len(self.notices)
        )
        files = [name for name in self.files if name.endswith((".html", ".md")) and name != f"{TABLE}.md"]
        files.sort(key=lambda name: name != PAGE)
        own = [
            *self._gate_lines(subject),
            *self._elsewhere,
            f"report     {shown_path(self._folder / f'{TABLE}.md')}{notices}",
            *(
                f"           {line}"
                for line in wrap(f"{', '.join(files)} in the same folder" * bool(files), console.width - 11)
            ),
            *self._baseline_lines(),
        ]
        Ending(title, self.results, subject, self._metric, [*own, *lines]).print(console)

    def chosen(self) -> str:
        """Return the name of the result that a sweep is about, baselines and teachers aside.

        It has the best monitored quality on validation; with `nested` it is that of `clinlm.report.nested.choose`.
        """
        return self._choice.name if self._run.nested else best_on_validation(self.results, self._metric).name

    def next_line(self, command: str) -> str:
        """Return the line of the next command: `command`, or one that predicts with the baseline to use instead."""
        key = next((result.key for result in self.results if result.name == self._use), "")
        if not key:
            return f"next       {command}"
        column = dict(self._run.task.settings).get("corpus", {}).get("text", "text")
        text = [f"text={column}"] if isinstance(column, str) and column != "text" else []
        artifact = f"artifact={shown_path(Path(self._run.store) / key)}"
        return f"next       {shlex.join(['clinlm', 'predict', artifact, 'input=FILE', *text, 'output=answers.csv'])}"

    def choice(self, runs: Sequence[RunRecord]) -> tuple[str, list[str]]:
        """Return the name of what a nested sweep of `runs` chooses, and the lines that say so."""
        run = next(run for run in runs if run.overrides == self._choice.lineage.overrides)
        return self._choice.name, choice_lines(self.results, self._choice, self._metric, run)

    @cached_property
    def _choice(self) -> ModelResult:
        sampling = self._settings.bootstrap(self._task, self._split)
        return choose(self.results, self.evaluations, self._metric, **sampling)

    def _write_gates(self) -> None:
        self.files += gates.write_gates(self.results, self._run.device, self._folder, self._split)
        self._show("gates", lambda: gates.verdict_lines(self.results))
        if any(result.gates for result in self.results):
            self._show("devices", lambda: gates.device_lines(self._run.device, self.results[-1]))

    def _gate_lines(self, subject: str) -> list[str]:
        """Return the line of the gate of the run, which judges the artifact of the subject."""
        by_name = {result.name: result for result in self.results}
        own = by_name[by_name[subject].deployment.get("of", subject)]
        chosen = instantiate(dict(self._run.gate)).name if self._run.gate else None
        return [f"gate       {own.name}: {gates.short_verdict(gate)}" for gate in own.gates if gate.gate == chosen]

    def _write_uncertainty(self) -> None:
        """Write the sets and the abstention of all models."""
        self.files += uncertainty.write_uncertainty(self.results, self._folder, self._split)
        measured = [result for result in self.results if result.uncertainty is not None]
        self._show("uncertainty", lambda: [uncertainty.uncertainty_line(result) for result in measured])

    def _baseline_lines(self) -> list[str]:
        """Return a line with the folders of the baselines, the first alone where they do not fit a line."""
        keys = [result.key for result in self.results if result.name in BASELINES and result.key]
        lines = [f"tfidf      {shown_path(Path(self._run.store) / ', '.join(keys[:count]))}" for count in (2, 1)]
        return [line for line in lines if len(line) <= SCREEN[0] or line == lines[-1]][:1] if keys else []

    def _write_stages(self, trained: Sequence[ModelResult]) -> None:
        """Write what the methods of a run did, the validation of its last compressed stage, and a published table."""
        reports = {r.name: r.lineage.artifact.report for r in self.results if r.is_stage}
        (self._folder / "methods.md").write_text(methods.methods_markdown(reports), encoding="utf-8")
        self.files.append("methods.md")
        self._show("methods", lambda: methods.method_lines(reports))
        compressed = [result for result in self.results if result.is_stage and result.lineage.original]
        if not compressed or self._task.by_word or self._run.nested:  # it decides by document, and on test
            return
        last = compressed[-1]
        original = next(result for result in self.results if result.lineage.folder == last.lineage.original)
        if original.name != last.name:
            validation = validate_result(self._task, original, last, self._settings)
            self.files += [path.name for path in validation_text.write_validation(validation, self._folder)]
            self._show("validation", lambda: validation_text.validation_summary(validation))
        ending = self._run.stages[-1].name  # the result of the pipeline; a job of a sweep has one row, and no table
        own = [replace(r, group=self._run.pipeline) if _stage_of(r) == ending else r for r in self._scored]
        self._write_published(own, trained, least=2)

    def _write_models(self, trained: Sequence[ModelResult]) -> None:
        """Write a published table with our results, the grid and the Pareto front of the models of a sweep."""
        self._write_published(self._scored, trained, least=1)
        if len({*adapters.adapter_names(self.results).values()}) > 1:
            costs = adapters.write_adapters(self.results, self._metric, self._folder, self.conclusion)
            self.files.append(f"{adapters.NAME}.md")
            self._show("adapters", lambda: [costs])
        found = grid_cells(self.results, self._metric)
        if found is not None:
            header, lines = found
            grid = conclusion_markdown(self.conclusion) + cells.grid(header, lines)
            (self._folder / "grid.md").write_text(grid, encoding="utf-8")
            self.files.append("grid.md")
            self._show("grid", lambda: [text_table(f"Pipelines × methods, on {self._split}", "", header, lines)])
        maps = write_grid_map(self.results, self._metric, self._folder, self._split)
        maps += [] if self._task.by_word else write_label_map(self._detailed(), self._folder, self._split)
        self.files += [path.name for path in maps]
        timed = [result for result in self.results if result.latency is not None]
        if len(timed) > 2:
            self.files += [path.name for path in pareto.write_pareto(timed, self._metric, self._folder, self._split)]

    def _write_published(self, scored: Sequence[ModelResult], trained: Sequence[ModelResult], least: int) -> None:
        """Write the published table with our results, if at least so many of its rows have one of ours."""
        if self._settings.published is None or self._run.nested:
            return
        published = Published.named(self._settings.published)
        if len(published.placed(scored)) >= least:
            last = {result.name: epochs.last_epoch(self._task, result) for result in trained}
            made = write_published(published, scored, last, self.notices, self._folder, self.conclusion)
            self.files += ["published.md", *(["published_labels.md"] if published.labels else [])]
            self._show("published", lambda: made)

    def _detailed(self) -> list[ModelResult]:
        by_name = {result.name: result for result in self.results}
        return detailed_results(self.results, by_name[self._subject], self._metric)

    def _write_labels(self) -> None:
        """Write the quality by label."""
        if not self._task.by_word:
            sampling = self._settings.bootstrap(self._task, self._split)
            write_label_differences(self._detailed(), self.evaluations, self._folder, **sampling)
            groups = {result.name: [result] for result in self._scored}
            self._show("labels", lambda: [label_table(groups, "By label", {})[0]])
            return
        title = f"Entities on {self._split}"
        entities.write_entities(self._scored, self.notices, self._folder, entities.NAME, title, "", self.conclusion)
        self.files.append(f"{entities.NAME}.md")
        self._show("labels", lambda: [entities.entity_line(result) for result in self._scored])

    def _write_external(self) -> None:
        """Write the quality on the external corpus, if there is one."""
        other = self._external
        if other is None:
            return
        found = external.write_external(other, self._scored, self._settings, Path(self._run.store), self._folder)
        self.files.append(f"{external.NAME}.md")
        metric = self._metric if all(self._metric in result.quality for result in found) else "micro_f1"
        scores = ", ".join(f"{result.name} {cells.percent(result.quality[metric])}" for result in found)
        self._elsewhere = [f"external   {other.name}, {metric} %: {scores}"]
        if self._task.by_word:
            self._show("labels", lambda: [f"{other.name}: {entities.entity_line(result)}" for result in found])

    def _show(self, part: str, made: Callable[[], Sequence[Any]]) -> None:
        if part in self._settings.show:
            self._shown += made()


def _stage_of(result: ModelResult) -> str:
    """Return the name of the stage that a result of a run is of, or is a deployment of."""
    return str(result.deployment.get("of", result.name))
