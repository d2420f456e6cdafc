"""Labelers and what learned from them, line by line: against people, against each other, and what they take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

from clinlm.labelers.base import Labeler
from clinlm.labelers.llm_prices import Prices, Usage
from clinlm.metrics.bootstrap import Interval, differences
from clinlm.metrics.economics import Economics, Machine, of_latency, of_totals, together
from clinlm.report.baselines import BASELINE, LABELER
from clinlm.report.comparison import Settings, resampling
from clinlm.report.entity_scores import EntityScores
from clinlm.report.labeler_jobs import Job, leaves


@final
@dataclass(frozen=True)
class Line:
    """A labeler, or a model that learned from it.

    Attributes:
        labeler: what the labeler is called.
        model: what the model is called; LABELER for the labeler itself.
        own: against people, on the test documents.
        outside: against people, on the external corpus; None where there is none.
        against_people: strict micro F1, this minus the same model learned from people, paired; for a labeler minus the
            first teacher learned from people. None where there is no such model, and for those models.
        against_labeler: strict micro F1, this minus its labeler, paired; None for a labeler and what learned from
            people.
        takes: what 1,000 notes take; None where it was not measured.
        people: whether it learned from people.
    """

    labeler: str
    model: str
    own: EntityScores
    outside: EntityScores | None
    against_people: Interval | None
    against_labeler: Interval | None
    takes: Economics | None
    people: bool

    @property
    def name(self) -> str:
        """What is learned from, and by which model."""
        return self.labeler if self.model == LABELER else f"{self.labeler} → {self.model}"


def lines(jobs: Sequence[Job], settings: Settings) -> list[Line]:
    """Return a line for every labeler but people, and every model, once each.

    Args:
        jobs: of `clinlm.report.labeler_jobs.opened`.
        settings: resamples, groups, seed, and what the machine costs.
    """
    found: dict[tuple[str, str], Line] = {}
    named = _named(jobs)
    order = [each.labeler for each in jobs]
    for job in sorted(jobs, key=lambda one: order.index(one.labeler)):
        for one in sorted(job.own, key=lambda each: each.name != LABELER):
            if one.name == LABELER and job.people:
                continue
            same = (job.labeler, one.folder or job.folder(one.name) or one.name)
            if same not in found:
                model = one.name if one.name in (LABELER, BASELINE) else f"{one.name}{named(job)}"
                found[same] = _line(job, one, model, jobs, settings)
    return list(found.values())


def _named(jobs: Sequence[Job]) -> Any:
    """Return what tells what a model's name holds beside its stage: the pipeline and seed where there are several."""
    pipelines, seeds = ({job.run[what] for job in jobs} for what in ("pipeline", "seed"))

    def ending(job: Job) -> str:
        pipeline = f", {job.run['pipeline']}" if len(pipelines) > 1 else ""
        return pipeline + (f" s{job.run['seed']}" if len(seeds) > 1 else "")

    return ending


def _line(job: Job, one: EntityScores, model: str, jobs: Sequence[Job], settings: Settings) -> Line:
    people = next(_counterparts(job, one, jobs), None)
    labeler = next((each for each in job.own if each.name == LABELER), None)
    against_labeler = None
    if labeler is not None and labeler is not one and not job.people:
        against_labeler = _difference((job, labeler), (job, one), settings)
    return Line(
        labeler=job.labeler,
        model=model,
        own=one,
        outside=job.outside.get(one.name),
        against_people=None if people is None or job.people else _difference(people, (job, one), settings),
        against_labeler=against_labeler,
        takes=_labeler_takes(job, jobs, settings.machine) if one.name == LABELER else _takes(one, settings.machine),
        people=job.people,
    )


def _counterparts(job: Job, one: EntityScores, jobs: Sequence[Job]) -> Iterator[tuple[Job, EntityScores]]:
    """Yield the same model learned from people, that of the same pipeline and seed first; of a labeler the teacher."""
    same = (job.run["pipeline"], job.run["seed"])
    alike = [each for each in jobs if each.people]
    for other in sorted(alike, key=lambda each: (each.run["pipeline"], each.run["seed"]) != same):
        for each in other.own:
            if each.name == one.name if one.name != LABELER else each.role == "teacher":
                yield other, each


def _difference(a: tuple[Job, EntityScores], b: tuple[Job, EntityScores], settings: Settings) -> Interval:
    before, after = (job.judged(one) for job, one in (a, b))
    how = resampling(b[0].task, settings)
    return differences(before.entity_metrics, after.entity_metrics, after.documents, **how)["micro_f1"]


def _takes(one: EntityScores, machine: Machine) -> Economics | None:
    return None if one.latency is None else of_latency(one.latency.mean_ms, one.latency.documents, machine)


def _labeler_takes(job: Job, jobs: Sequence[Job], machine: Machine) -> Economics | None:
    """Return what the labeler of a job takes: one as counted, several as the sum of what each took by itself.

    What several took together tells no price of each: where one of them has no job by itself, and they are priced
    differently, None.
    """
    own = leaves(job.task.labeler)
    alone = {each.fingerprint(): other for other in jobs for each in leaves(other.task.labeler)[:1] if _single(other)}
    if len(own) > 1 and all(each.fingerprint() in alone for each in own):
        return together([_counted(alone[each.fingerprint()], each, machine) for each in own])
    prices = {prices for each in own if (prices := _prices(each)) is not None}
    if len(own) > 1 and (len(prices) > 1 or len({each.remote for each in own}) > 1):
        return None
    return _counted(job, next((each for each in own if _prices(each) is not None), own[0]), machine)


def _single(job: Job) -> bool:
    """Whether a job counted what one labeler took."""
    return len(leaves(job.task.labeler)) == 1 and "labeler_notes" in job.task.examples.facts


def _counted(job: Job, labeler: Labeler, machine: Machine) -> Economics:
    """Return what the notes of a job took; of a labeler on this machine its time is paid for."""
    facts = job.task.examples.facts
    used = Usage(facts["labeler_prompt_tokens"], facts["labeler_completion_tokens"])
    totals = (facts["labeler_notes"], facts["labeler_failed"], facts["labeler_seconds"], used)
    return of_totals(*totals, _prices(labeler), None if labeler.remote else machine)


def _prices(labeler: Labeler) -> Prices | None:
    prices = getattr(labeler, "prices", None)
    return prices if isinstance(prices, Prices) else None
