"""After a sweep over labelers: every labeler, and every model that learned from one, against people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from clinlm.config.errors import ConfigError
from clinlm.config.targets import instantiate
from clinlm.labelers.base import Labeler
from clinlm.labelers.human import Human
from clinlm.labelers.llm_prices import Usage
from clinlm.metrics.bootstrap import Interval, differences
from clinlm.metrics.economics import Economics, Machine, of_latency, of_totals, together
from clinlm.metrics.entity_evaluation import EntityEvaluation
from clinlm.pipeline import execution
from clinlm.pipeline.run_record import RunRecord
from clinlm.report import entities, external
from clinlm.report.baselines import BASELINES, LABELER
from clinlm.report.results import ModelResult, read_results
from clinlm.report.settings import ReportSettings
from clinlm.report.written import TABLE
from clinlm.store.key import digest
from clinlm.tasks.entities import PEOPLE, Entities

ROWS = ("labeler", "people", "distilled", "distilled, external")
"""Rows of conf/published/labelers.yaml that ours are listed below."""


@final
@dataclass(frozen=True)
class LabelerJob:
    """One job of a sweep over labelers, as it was left in its folder.

    Attributes:
        own: results on the test documents.
        outside: results on the external corpus, by name; empty where there is none.
        outside_notices: what limits the numbers on the external corpus.
    """

    labeler: str
    run: RunRecord
    task: Entities
    own: Sequence[ModelResult]
    outside: Mapping[str, ModelResult]
    outside_notices: tuple[str, ...]

    @property
    def people(self) -> bool:
        """Whether only people labelled."""
        return all(isinstance(part, Human) for part in leaves(self.task.labeler))

    def evaluate(self, result: ModelResult) -> EntityEvaluation:
        """Return the predictions of a result for the test documents against people's labels."""
        root, key = Path(self.run.store), self.run.task.key
        return self.task.evaluate("test", external.test_probabilities(self.task, key, result, root), None)


@final
@dataclass(frozen=True)
class LabelerResult:
    """A labeler, or a model that learned from it.

    Attributes:
        model: name of the model; LABELER for the labeler itself.
        people: whether people are the labeler.
        own: against people, on the test documents; with what 1,000 notes cost, where that was measured.
        outside: against people, on the external corpus; None where there is none.
        against_people: strict micro F1, own minus that of the same model learned from people (for a labeler: of the
            first teacher), paired; None where there is no such model, and where people are the labeler.
        against_labeler: strict micro F1, own minus that of its labeler, paired; None for a labeler, and where people
            are the labeler.
    """

    labeler: str
    model: str
    people: bool
    own: ModelResult
    outside: ModelResult | None
    against_people: Interval | None
    against_labeler: Interval | None

    @property
    def name(self) -> str:
        """Labeler, and the model that learned from it."""
        return self.labeler if self.model == LABELER else f"{self.labeler} → {self.model}"


def open_jobs(folders: Sequence[Path]) -> list[LabelerJob]:
    """Return the jobs in `folders`, those of people first.

    Raises:
        ConfigError: a job has another kind of task, or they test different documents.
    """
    jobs = [_open_job(folder) for folder in folders]
    tested = {_tested(job.task): folder.name for job, folder in zip(jobs, folders, strict=True)}
    if len(tested) > 1:
        raise ConfigError(
            "labelers are compared on the same test documents, with the same labels and the same spans of people; jobs "
            f"{' and '.join(tested.values())} differ; sweep nothing that changes the corpus or its split"
        )
    return sorted(jobs, key=lambda job: not job.people)


def _open_job(folder: Path) -> LabelerJob:
    run = RunRecord.read(folder)
    if not (folder / f"{entities.NAME}.json").is_file():
        raise ConfigError(
            f"labelers are compared on entities, but job {folder.name} has another kind of task; set task=bc5cdr, "
            "maccrobat or entities"
        )
    task, _ = execution.open_task_from(dict(run.task.settings), Path(run.store))
    assert isinstance(task, Entities)
    own, _ = read_results(folder / f"{TABLE}.json")
    outside, notices = read_results(folder / f"{external.NAME}.json") if run.external is not None else ([], [])
    by_name = {result.name: result for result in outside}
    shown = [result for result in own if result.quality and (result.kind != "ensemble" or result.name in by_name)]
    return LabelerJob(labeler_name(run.task.settings["labeler"]), run, task, shown, by_name, tuple(notices))


def _tested(task: Entities) -> str:
    documents = task.examples.frame[task.examples.members("test")]
    return digest([task.tags.labels, *(documents[name].to_list() for name in ("id", "text", PEOPLE))])


def leaves(labeler: Labeler) -> list[Labeler]:
    """Return the labelers that a labeler combines; itself where it combines none."""
    parts = [leaf for part in labeler.parts for leaf in leaves(part)]
    return parts or [labeler]


def labeler_name(settings: Mapping[str, Any]) -> str:
    """Return the name of the labeler of some settings: ontology, or union(ontology+llm)."""
    kind = str(settings["_target_"]).split(".")[-2]
    if "labelers" not in settings:
        return kind
    names = [str(name) for name in settings.get("use") or settings["labelers"]]
    return names[0] if len(names) == 1 else f"{kind}({'+'.join(names)})"


def labeler_results(jobs: Sequence[LabelerJob], settings: ReportSettings) -> list[LabelerResult]:
    """Return a result for every labeler but people, and for every model, once each.

    Args:
        jobs: as `open_jobs` returns them.
        settings: resamples, groups, seed, and the price of the machine.
    """
    found: dict[tuple[str, str], LabelerResult] = {}
    several = [len({getattr(job.run, field) for job in jobs}) > 1 for field in ("pipeline", "seed")]
    order = [job.labeler for job in jobs]
    for job in sorted(jobs, key=lambda job: order.index(job.labeler)):
        ending = (f", {job.run.pipeline}" if several[0] else "") + (f" s{job.run.seed}" if several[1] else "")
        for own in sorted(job.own, key=lambda result: result.name != LABELER):
            if own.name == LABELER and job.people:
                continue
            same = (job.labeler, own.deployment.get("folder") or own.lineage.folder or own.name)
            if same not in found:
                model = own.name if own.name in (LABELER, *BASELINES) else f"{own.name}{ending}"
                found[same] = _result(job, own, model, jobs, settings)
    return list(found.values())


def _result(
    job: LabelerJob, own: ModelResult, model: str, jobs: Sequence[LabelerJob], settings: ReportSettings
) -> LabelerResult:
    people = None if job.people else next(_counterparts(job, own, jobs), None)
    labeler = next((result for result in job.own if result.name == LABELER), None)
    taught = labeler is not None and labeler is not own and not job.people
    labeler_cost = _labeler_cost(job, jobs, settings.machine) if labeler is not None and not job.people else None
    cost = labeler_cost if own.name == LABELER else _model_cost(own, settings.machine)
    before = None if own.name == LABELER else labeler_cost
    outside = job.outside.get(own.name)
    return LabelerResult(
        labeler=job.labeler,
        model=model,
        people=job.people,
        own=replace(own, economics=cost, labeler_economics=before),
        outside=None if outside is None else replace(outside, economics=cost, labeler_economics=before),
        against_people=None if people is None else _difference(people, (job, own), settings),
        against_labeler=_difference((job, labeler), (job, own), settings) if taught and labeler is not None else None,
    )


def _counterparts(
    job: LabelerJob, own: ModelResult, jobs: Sequence[LabelerJob]
) -> Iterator[tuple[LabelerJob, ModelResult]]:
    """Yield the same model learned from people, of the same pipeline and seed first; for a labeler, the teacher."""
    same = (job.run.pipeline, job.run.seed)
    alike = [other for other in jobs if other.people]
    for other in sorted(alike, key=lambda each: (each.run.pipeline, each.run.seed) != same):
        for result in other.own:
            if result.name == own.name if own.name != LABELER else result.role == "teacher":
                yield other, result


def _difference(
    a: tuple[LabelerJob, ModelResult], b: tuple[LabelerJob, ModelResult], settings: ReportSettings
) -> Interval:
    before, after = (job.evaluate(result) for job, result in (a, b))
    how = settings.bootstrap(b[0].task)
    return differences(before.entity_metrics, after.entity_metrics, after.documents, **how)["micro_f1"]


def _model_cost(own: ModelResult, machine: Machine) -> Economics | None:
    return None if own.latency is None else of_latency(own.latency.mean_ms, own.latency.documents, machine)


def _labeler_cost(job: LabelerJob, jobs: Sequence[LabelerJob], machine: Machine) -> Economics | None:
    """Return the cost of the labeler of a job: of a single one as counted, of several the sum of each one's own job.

    None where a part has no job of its own and parts are priced differently: the total does not say what each cost.
    """
    own = leaves(job.task.labeler)
    alone = {part.fingerprint(): other for other in jobs for part in leaves(other.task.labeler)[:1] if _single(other)}
    if len(own) > 1 and all(labeler.fingerprint() in alone for labeler in own):
        return together([_counted(alone[labeler.fingerprint()], labeler, machine) for labeler in own])
    prices = {prices for labeler in own if (prices := labeler.prices) is not None}
    if len(own) > 1 and (len(prices) > 1 or len({labeler.remote for labeler in own}) > 1):
        return None
    return _counted(job, next((labeler for labeler in own if labeler.prices is not None), own[0]), machine)


def _single(job: LabelerJob) -> bool:
    """Return whether the cost of a single labeler was counted in a job."""
    return len(leaves(job.task.labeler)) == 1 and "labeler_notes" in job.task.examples.facts


def _counted(job: LabelerJob, labeler: Labeler, machine: Machine) -> Economics:
    """Return what the notes of a job cost; the time of a labeler on this machine is paid for."""
    facts = job.task.examples.facts
    used = Usage(facts["labeler_prompt_tokens"], facts["labeler_completion_tokens"])
    totals = (facts["labeler_notes"], facts["labeler_failed"], facts["labeler_seconds"], used)
    return of_totals(*totals, labeler.prices, None if labeler.remote else machine)


def published_rows(results: Sequence[LabelerResult]) -> dict[str, dict[str, ModelResult]]:
    """Return row of the published table -> labeler and model -> ours, with strict F1 by label; without TF-IDF."""
    found: dict[str, dict[str, ModelResult]] = {row: {} for row in ROWS}
    for result in results:
        if result.model == LABELER:
            found["labeler"][result.name] = _by_label(result.own)
        elif result.model not in BASELINES and result.people:
            found["people"][result.model] = _by_label(result.own)
        elif result.model not in BASELINES:
            found["distilled"][result.name] = _by_label(result.own)
            if result.outside is not None:
                found["distilled, external"][result.name] = _by_label(result.outside)
    return {row: own for row, own in found.items() if own}


def _by_label(result: ModelResult) -> ModelResult:
    quality = {f"{label.lower()}_f1": own.value for label, own in result.label_estimates("f1").items()}
    return replace(result, quality=quality)


def report_labelers(folders: Sequence[Path], folder: Path) -> None:
    """Print the table of the jobs in `folders`; write labelers.md, .json, .svg, .png and published.md into `folder`."""
    from clinlm.config.console import make_console
    from clinlm.config.resolvers import register_resolvers
    from clinlm.report import labeler_tables
    from clinlm.report.published import Published, side_by_side

    register_resolvers()
    jobs = open_jobs(folders)
    settings: ReportSettings = instantiate(dict(jobs[0].run.report))
    results = labeler_results(jobs, settings)
    console = make_console()
    files = labeler_tables.write_labelers(jobs, results, folder)
    if settings.published is not None:
        published, rows = Published.named(settings.published), published_rows(results)
        if published.has(rows):
            table, markdown = side_by_side(rows, published)
            (folder / "published.md").write_text(markdown, encoding="utf-8")
            files.append("published.md")
            if "published" in settings.show:
                console.print(table)
    console.print(labeler_tables.terminal_table(results))
    for sentence in labeler_tables.labeler_sentences(results):
        console.print(f"verdict    {sentence}", soft_wrap=True, markup=False)
    console.print(f"report     {folder}: {', '.join(files)}", soft_wrap=True, markup=False)
