"""Ensembles of teachers as rows of a comparison, and their students beside them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from hydra.utils import instantiate

from clinlm.models.artifact import Artifact
from clinlm.report import cells
from clinlm.report.entry import Entry
from clinlm.report.row import Row
from clinlm.store.key import digest
from clinlm.tasks.base import Task
from clinlm.training.teachers.base import TeacherSource
from clinlm.training.teachers.cached_logits import ensemble_logits, fit_combination
from clinlm.training.teachers.ensemble import Ensemble
from clinlm.training.teachers.logit_combination import LogitCombination
from clinlm.training.teachers.tfidf import TFIDF, Tfidf
from clinlm.training.teachers.trained import Trained

_TOLD = {"micro_f1": "micro F1", "macro_f1": "macro F1", "macro_auroc": "macro AUROC"}
_FEW = 3
"""Members that a row's name names one by one."""


@final
@dataclass(frozen=True)
class Assembly:
    """Several teachers that students learned from as one.

    Attributes:
        name: of its row, distinct.
        members: in the order of the stage's `teachers`.
        settings: of the ensemble, with its `_target_`; None for the mean of the logits.
        students: names of the rows to compare with it, the one that it stands above first.
        cached: whether all members were there already.
        reference: name of the row that it is compared with; None for the first of role teacher.
        group: the name that it shares with itself at other seeds of a sweep; "" for its own.
        overrides: what makes its students from the shell.
    """

    name: str
    members: tuple[TeacherSource, ...]
    settings: Mapping[str, Any] | None
    students: tuple[str, ...]
    cached: bool
    reference: str | None = None
    group: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The hash of the members and of how they are combined."""
        return digest([[one.key for one in self.members], self.settings])


def assemblies(stages: Sequence[Mapping[str, Any]], root: Path, task_key: str) -> list[Assembly]:
    """Return the ensembles that stages of a pipeline learned from, each once, as the run's `run.json` tells of them.

    An ensemble is compared with the stages that learned from it, and with the last of the pipeline.

    Args:
        stages: in order.
        root: the store.
        task_key: of their task.
    """
    by_name = {one["name"]: one for one in stages}
    found: dict[str, Assembly] = {}
    for one in stages:
        names: Sequence[str] = one.get("teachers", ())
        if len(names) < 2:
            continue
        members = tuple(
            Tfidf(root, task_key) if name == TFIDF else Trained(Artifact(Path(by_name[name]["folder"])), name)
            for name in names
        )
        settings = Artifact(Path(one["folder"])).record["settings"].get("ensemble")
        cached = all(by_name[name]["cached"] for name in names if name != TFIDF)
        made = Assembly(called(names), members, settings, (one["name"],), cached)
        before = found.get(made.key, made).students
        found[made.key] = replace(made, students=tuple(dict.fromkeys([*before, one["name"]])))
    last = stages[-1]["name"]
    whole = [replace(one, students=tuple(dict.fromkeys([*one.students, last]))) for one in found.values()]
    taken = Counter(one.name for one in whole)
    return [replace(one, name=f"{one.name} by {_way(one)}") if taken[one.name] > 1 else one for one in whole]


def called(names: Sequence[str]) -> str:
    """Return what an ensemble of these members is called: short enough for a table."""
    return f"ensemble ({', '.join(names)})" if len(names) <= _FEW else f"ensemble of {len(names)}"


def _way(assembly: Assembly) -> str:
    return str((assembly.settings or {}).get("_target_", "mean_logits.")).split(".")[-2]


def entry(task: Task, assembly: Assembly, first: str) -> tuple[Entry, str]:
    """Return the entry of an ensemble: combined answers, what its members take together, and one after the other.

    And what has to be said of the weights of its members: "" where all count the same.

    Args:
        task: opened.
        assembly: the ensemble.
        first: name of the first teacher's row.
    """
    rule = _fitted(task, assembly)
    validation, test = (
        task.probabilities(ensemble_logits(assembly.members, rule, task, s)) for s in ("validation", "test")
    )
    costs = [one.cost() for one in assembly.members]
    row = Row(
        name=assembly.name,
        kind="ensemble",
        key=assembly.key,
        role="teacher",
        parameters=sum(one.parameters for one in costs),
        nonzero=sum(one.nonzero for one in costs),
        bytes=sum(one.bytes for one in costs),
        seconds=sum(one.seconds for one in costs),
        cached=assembly.cached,
    )
    answers = [one.timed_predictor(task) for one in assembly.members]
    made = Entry(
        row,
        validation,
        test,
        lambda document: rule.combine(np.stack([answer(document) for answer in answers])),
        assembly.reference or first,
    )
    return made, _weights(assembly, rule)


def _fitted(task: Task, assembly: Assembly) -> LogitCombination:
    ensemble: Ensemble | None = instantiate(assembly.settings) if assembly.settings is not None else None
    return fit_combination(assembly.members, ensemble, task)


def _weights(assembly: Assembly, rule: LogitCombination) -> str:
    weights = rule.weights.mean(1)
    if np.ptp(weights.round(2)) == 0:
        return ""
    shares = ", ".join(f"{one.name} {weight:.2f}" for one, weight in zip(assembly.members, weights, strict=True))
    return f"{assembly.name}: members count for {shares}, by the mean over labels"


def beside(
    task: Task, entries: Sequence[Entry], shown: Sequence[Assembly], first: str
) -> tuple[list[Entry], list[str]]:
    """Put every ensemble above the first of its students, or below the last teacher where none of them has a row.

    Returns:
        all entries; and what has to be said of weights.
    """
    found, told = list(entries), []
    for one in shown:
        made, weights = entry(task, one, first)
        told += [weights] if weights else []
        students = [place for place, each in enumerate(found) if each.row.name in one.students]
        teachers = [place for place, each in enumerate(found) if each.row.role == "teacher"]
        found.insert(students[0] if students else teachers[-1] + 1, made)
    return found, told


def notices(
    task: Task,
    shown: Sequence[Assembly],
    entries: Sequence[Entry],
    rows: Sequence[Row],
    how: Mapping[str, Any],
) -> list[str]:
    """Say how every student, and every deployment of one, compares with its ensemble.

    Args:
        task: opened.
        shown: the ensembles.
        entries: of all rows.
        rows: measured, deployments included.
        how: resamples, groups and seed of `paired`.
    """
    by_name, answers = {row.name: row for row in rows}, {one.row.name: one for one in entries}
    return [
        _compared(task, by_name[one.name], row, answers, how)
        for one in shown
        for row in rows
        if {row.name, row.deployment.get("of")} & {*one.students}
    ]


def _compared(task: Task, ensemble: Row, row: Row, entries: Mapping[str, Entry], how: Mapping[str, Any]) -> str:
    ours, theirs = entries[row.name], entries[ensemble.name]
    before, after = (task.evaluate("test", one.test, task.fit_thresholds(one.validation)) for one in (theirs, ours))
    found = after.difference(before, **how)
    quality = [
        f"{told} {cells.points(found[name].value)} ({cells.points_range(found[name].low, found[name].high)}), "
        f"{cells.percent(_kept(row, ensemble, name))} % kept"
        for name, told in _TOLD.items()
    ]
    ratios = [f"{cells.times(ensemble.bytes / row.bytes)} fewer bytes"]
    if row.latency is not None and ensemble.latency is not None:
        ratios.append(f"{cells.times(ensemble.latency.p50_ms / row.latency.p50_ms)} lower p50 latency")
    return f"{row.name} beside {ensemble.name}, points: {'; '.join([*quality, *ratios])}"


def _kept(row: Row, ensemble: Row, metric: str) -> float | None:
    return row.quality[metric] / ensemble.quality[metric] if ensemble.quality[metric] else None
