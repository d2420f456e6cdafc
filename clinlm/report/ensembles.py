"""Ensembles of teachers in a comparison, and how their students compare with them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from clinlm.config.targets import instantiate
from clinlm.metrics.bootstrap import Interval
from clinlm.metrics.term_model import linked_logits
from clinlm.models.artifact import Artifact
from clinlm.pipeline.run_record import RunRecord
from clinlm.predict.note_answer import EnsembleAnswer, NoteAnswer, TermsAnswer, network_answer
from clinlm.report import cells, timing
from clinlm.report.baselines import ComparedModel
from clinlm.report.results import Lineage, ModelResult
from clinlm.report.selection import distinct
from clinlm.store.content import verified
from clinlm.store.key import digest
from clinlm.tasks.base import Task
from clinlm.tasks.inference_config import InferenceConfig
from clinlm.training.teachers.base import TeacherSource
from clinlm.training.teachers.cached_logits import ensemble_logits, fit_combination
from clinlm.training.teachers.ensemble import Ensemble
from clinlm.training.teachers.logit_combination import LogitCombination
from clinlm.training.teachers.tfidf import TFIDF, Tfidf
from clinlm.training.teachers.trained import Trained

_COMPARED = {"micro_f1": "micro F1", "macro_f1": "macro F1", "macro_auroc": "macro AUROC"}
_NAMED = 3
"""Members listed in the name of an ensemble, at most."""


@final
@dataclass(frozen=True)
class TeacherEnsemble:
    """Several teachers that students learned from together.

    Attributes:
        result: name, key and lineage.
        members: in the order of the stage's `teachers`.
        settings: of the ensemble, with its `_target_`; None for the mean of the logits.
        students: names of the results to compare with it; it is listed above the first.
    """

    result: ModelResult
    members: tuple[TeacherSource, ...]
    settings: Mapping[str, Any] | None
    students: tuple[str, ...]


def ensembles_of_run(run: RunRecord, reference: str) -> list[TeacherEnsemble]:
    """Return the ensembles that stages of a run learned from, each once.

    Students are the stages that learned from it, and the last of the pipeline.

    Args:
        reference: name of the result that an ensemble is compared with.
    """
    root, by_name = Path(run.store), {stage.name: stage for stage in run.stages}
    folders = {stage.name: Path(stage.folder) for stage in run.stages}
    found: dict[str, TeacherEnsemble] = {}
    for stage in run.stages:
        if len(stage.teachers) < 2:
            continue
        members = tuple(
            Tfidf(root, run.task.key) if name == TFIDF else Trained(Artifact(verified(folders[name])), name)
            for name in stage.teachers
        )
        settings = Artifact(verified(Path(stage.folder))).record["settings"].get("ensemble")
        key = digest([[member.key for member in members], settings])
        name = ensemble_name(stage.teachers)
        result = ModelResult(
            name=name,
            kind="ensemble",
            key=key,
            role="teacher",
            group=name,
            reference=reference,
            cached=all(by_name[name].cached for name in stage.teachers if name != TFIDF),
            lineage=Lineage(run.pipeline, teachers=tuple(stage.teachers), overrides=tuple(run.overrides)),
        )
        before = found[key].students if key in found else ()
        students = tuple(dict.fromkeys([*before, stage.name, run.stages[-1].name]))
        found[key] = TeacherEnsemble(result, members, settings, students)
    taken = Counter(ensemble.result.name for ensemble in found.values())
    return [_renamed(own, _rule_name(own)) if taken[own.result.name] > 1 else own for own in found.values()]


def ensembles_of_sweep(runs: Sequence[RunRecord], models: Sequence[ModelResult]) -> list[TeacherEnsemble]:
    """Return the ensembles of several runs of one task, each once, to compare with the runs' last stages.

    Args:
        models: as `clinlm.report.selection.last_stages` returns them.
    """
    by_folder = {model.lineage.folder: model for model in models}
    found: dict[tuple[str, str], TeacherEnsemble] = {}
    taken = {model.name for model in models}
    for run in runs:
        first, last = (by_folder[str(run.stages[place].folder)] for place in (0, -1))
        for ensemble in ensembles_of_run(run, first.name):
            same = (ensemble.result.key, first.name)
            if same not in found:
                name = distinct(f"teachers of {last.name}", taken)
                result = replace(ensemble.result, name=name, group=f"teachers of {last.group}")
                found[same] = replace(ensemble, result=result, students=())
            students = tuple(dict.fromkeys([*found[same].students, last.name]))
            found[same] = replace(found[same], students=students)
    return list(found.values())


def ensemble_name(members: Sequence[str]) -> str:
    """Return the name of an ensemble of these members, short enough for a table."""
    return f"ensemble ({', '.join(members)})" if len(members) <= _NAMED else f"ensemble of {len(members)}"


def _renamed(ensemble: TeacherEnsemble, rule: str) -> TeacherEnsemble:
    name = f"{ensemble.result.name} by {rule}"
    return replace(ensemble, result=replace(ensemble.result, name=name, group=name))


def _rule_name(ensemble: TeacherEnsemble) -> str:
    return str((ensemble.settings or {}).get("_target_", "mean_logits.")).split(".")[-2]


def ensemble_predictor(task: Task, ensemble: TeacherEnsemble) -> tuple[ComparedModel, str]:
    """Return the predictor of an ensemble: combined predictions, and the costs of all members, one after another.

    And the notice about the weights of its members: "" where all weigh the same.
    """
    settings = ensemble.settings
    combiner: Ensemble | None = instantiate(settings) if settings is not None else None
    rule = fit_combination(ensemble.members, combiner, task)
    logits = partial(ensemble_logits, ensemble.members, rule, task)
    costs = [member.cost() for member in ensemble.members]
    result = replace(
        ensemble.result,
        parameters=sum(cost.parameters for cost in costs),
        nonzero=sum(cost.nonzero for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
    )
    config = task.inference_config(logits("validation"), task.max_tokens)

    def opened() -> EnsembleAnswer:
        return EnsembleAnswer([_answer(member, task) for member in ensemble.members], rule.combine, config)

    return ComparedModel.of(result, config, logits, opened), _weights(ensemble, rule)


def _answer(member: TeacherSource, task: Task) -> NoteAnswer:
    """Return what answers from the text for a member: a network in eager float32, or TF-IDF."""
    if member.artifact is not None:
        return network_answer(member.artifact.load(), InferenceConfig.load(member.artifact.folder))
    own = Tfidf.of(task)
    model = own.fitted(task)[0]
    return TermsAnswer(lambda passages: linked_logits(model, passages, task.kind), InferenceConfig.load(own.folder))


def _weights(ensemble: TeacherEnsemble, rule: LogitCombination) -> str:
    weights = rule.weights.mean(1)
    if np.ptp(weights.round(2)) == 0:
        return ""
    pairs = zip(ensemble.members, weights, strict=True)
    shares = ", ".join(f"{member.name} {weight:.2f}" for member, weight in pairs)
    return f"{ensemble.result.name}: mean weight of its members over labels: {shares}"


def insert_ensembles(
    task: Task, predictors: Sequence[ComparedModel], shown: Sequence[TeacherEnsemble]
) -> tuple[list[ComparedModel], list[str]]:
    """Insert every ensemble above its first student, or below the last teacher where no student is compared.

    Returns:
        all predictors; and the notices about weights.
    """
    found, notices = list(predictors), []
    for ensemble in shown:
        made, weights = ensemble_predictor(task, ensemble)
        notices += [weights] if weights else []
        students = [place for place, each in enumerate(found) if each.result.name in ensemble.students]
        teachers = [place for place, each in enumerate(found) if each.result.role == "teacher"]
        found.insert(students[0] if students else teachers[-1] + 1, made)
    return found, notices


def student_notice(student: ModelResult, ensemble: ModelResult, change: Mapping[str, Interval]) -> str:
    """Return the notice that compares a student, or a deployment of one, with its ensemble.

    Args:
        student, ensemble: evaluated.
        change: metric -> student minus ensemble, paired.
    """
    quality = [
        f"{label} {cells.points(change[metric].value)} "
        f"({cells.points_range(change[metric].low, change[metric].high)}), "
        f"{cells.percent(_kept(student, ensemble, metric))} % kept"
        for metric, label in _COMPARED.items()
    ]
    ratios = [f"{cells.times(ensemble.bytes / student.bytes)} fewer bytes"]
    if student.latency is not None and ensemble.latency is not None:
        faster = timing.marked(cells.times(ensemble.latency.p50_ms / student.latency.p50_ms), student.latency)
        ratios.append(f"{faster} lower p50 latency")
    return f"{student.name} against {ensemble.name}, points: {'; '.join([*quality, *ratios])}"


def _kept(student: ModelResult, ensemble: ModelResult, metric: str) -> float | None:
    return student.quality[metric] / ensemble.quality[metric] if ensemble.quality[metric] else None
