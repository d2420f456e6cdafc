"""A pipeline: the ordered mapping of stages, each reused from the store or built, and then judged by a gate."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.utils import instantiate
from omegaconf import DictConfig

from clinlm.models.artifact import Artifact
from clinlm.models.initializers.base import Initializer
from clinlm.pipeline import gate_policy
from clinlm.pipeline.gates import Gate, Verdict, spelt
from clinlm.pipeline.plan import Planned, left_out, plain, planned
from clinlm.pipeline.stage import Stage
from clinlm.store.content import claim, seal
from clinlm.store.key import digest, sources
from clinlm.tasks.base import Task
from clinlm.tracking.base import RunLogger
from clinlm.training.augmentation.stored import transfer_key, transfer_set
from clinlm.training.teachers.base import TeacherSource
from clinlm.training.teachers.tfidf import TFIDF, Tfidf
from clinlm.training.teachers.trained import Trained

log = logging.getLogger(__name__)

# Where and how it runs, and what its folder is called, changes no result. Start and teachers count by their keys.
_NO_RESULT = ("trainer", "role", "teachers")
_PLACES = ("root", "lists_root")
"""Settings of a task that say where files lie, at any depth: the bytes read there count, by the fingerprint."""
_PLACEMENT = (
    *("_target_", "_partial_", "accelerator", "devices", "num_nodes", "strategy"),
    *("enable_progress_bar", "log_every_n_steps", "profiler", "plugins"),
)
"""Settings of the trainer that say where and how it runs. Any other (`limit_train_batches`, say) makes another key."""


@dataclass(frozen=True)
class Done:
    """A finished stage of this pipeline.

    Attributes:
        name: of the stage.
        role: teacher or student.
        artifact: on disk.
        cached: whether it was there already.
        teachers: those whose logits it learned from; how several were combined is in the artifact's settings.
        techniques: by which it was compressed, here and in all that it comes from; keys of
            `clinlm.pipeline.gates.TECHNIQUES`.
        verdict: of the gate; None where there is none, or none after this stage.
    """

    name: str
    role: str
    artifact: Artifact
    cached: bool
    teachers: tuple[TeacherSource, ...] = ()
    techniques: tuple[str, ...] = ()
    verdict: Verdict | None = None


class GateFailed(RuntimeError):
    """A pipeline stopped at its gate.

    Attributes:
        done: the stages that finished, the one that failed the last; none where a technique is not allowed.
        verdicts: those that failed.
    """

    exit_status: ClassVar[int] = 3

    def __init__(self, message: str, done: Sequence[Done] = (), verdicts: Sequence[Verdict] = ()) -> None:
        super().__init__(message)
        self.done, self.verdicts = list(done), list(verdicts)


def open_task(config: DictConfig) -> tuple[Task, str]:
    """Return the task of `config`, opened on the store, and its key."""
    return opened_task(plain(config.task), Path(config.store))


def opened_task(settings: dict[str, Any], root: Path) -> tuple[Task, str]:
    """Return the task that `settings` describe, opened on the store `root`, and its key."""
    task: Task = instantiate(settings)
    key = digest([_placeless(settings), task.fingerprint(), sources(settings)])
    task.open(root, key)
    return task, key


def _placeless(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    return {name: _placeless(value) for name, value in settings.items() if name not in _PLACES}


def plan(config: DictConfig) -> list[Planned]:
    """Return all stages, in order: a bad value, or a technique that the gate forbids, fails before anything is trained.

    Raises:
        ValueError: as `clinlm.pipeline.plan.planned`; or there is a gate, but no stage of role teacher to compare
            with, or one
            that is compressed itself.
        GateFailed: the gate does not allow a stage's technique.
    """
    stages, gate = planned(config), open_gate(config)
    if gate is not None:
        own, original = gate_policy.techniques(stages), gate_policy.original(stages)
        if original is None:
            raise ValueError(
                "a gate compares with the model before compression, the first stage of role teacher; there is none; "
                "give the pipeline one (stages.NAME.role=teacher), or set gate=none"
            )
        if own[original]:
            raise ValueError(
                f"a gate compares with the model before compression, the first stage of role teacher; {original!r} is "
                f"compressed itself ({' and '.join(map(spelt, own[original]))}); do that in a stage after it, or set "
                "gate=none"
            )
        refused = [Verdict(gate.name, one.name, gate.refused(own[one.name])) for one in stages]
        failed = [one for one in refused if not one.passed]
        if failed:
            told = "; ".join(f"stage {one.subject!r} is {' and '.join(map(spelt, one.refused))}" for one in failed)
            raise GateFailed(
                f"gate {gate.name} does not allow every technique: {told}; nothing was trained; allowed instead: "
                f"{gate.instead()}",
                verdicts=failed,
            )
    return stages


def open_gate(config: DictConfig) -> Gate | None:
    """Return the gate of `config`, if it has one."""
    if config.get("gate") is None:
        return None
    gate: Gate = instantiate(plain(config.gate))
    return gate


def run(config: DictConfig, task: Task, task_key: str, logger: RunLogger) -> list[Done]:
    """Run every stage in order and return them all.

    A gate judges each against the first teacher on stored predictions, whether it was built now or before; which stages
    it judges is told by `clinlm.pipeline.gate_policy.judged`.

    Args:
        config: the whole configuration, with `stages` and `store`.
        task: opened.
        task_key: its key.
        logger: follows the stages that are built.

    Raises:
        ValueError, GateFailed: as `plan`.
        GateFailed: a stage lost more than the gate allows; those before it, and itself, stay in the store.
    """
    stages, gate = plan(config), open_gate(config)
    for name, method in left_out(config).items():
        log.info("stage %s is left out: %s=none", name, method)
    used = gate_policy.inherited(stages)
    judged = gate_policy.judged(stages) if gate is not None else set()
    if gate is not None and not judged:
        log.warning("gate %s judges nothing: no stage comes after the model before compression", gate.name)
    done: dict[str, Done] = {}
    for number, one in enumerate(stages, 1):
        log_as = f"stage {number} of {len(stages)}: {one.name}"
        artifact, cached = _built(config, one, done, task, task_key, logger, log_as)
        verdict = None
        if gate is not None and one.name in judged:
            first = done[str(gate_policy.original(stages))].artifact
            own = gate_policy.techniques(stages)[one.name]
            verdict = gate.verdict(one.name, gate.changes(task, first, artifact), own)
            log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict.line())
        teachers = tuple(_teachers(one, done, Path(config.store), task_key)) if one.stage.wants_logits else ()
        done[one.name] = Done(one.name, one.stage.role, artifact, cached, teachers, used[one.name], verdict)
        if gate is not None and verdict is not None and not verdict.passed:
            raise _failed(gate, verdict, list(done.values()))
    return list(done.values())


def _built(
    config: DictConfig,
    one: Planned,
    done: Mapping[str, Done],
    task: Task,
    task_key: str,
    logger: RunLogger,
    log_as: str,
) -> tuple[Artifact, bool]:
    """Return the artifact of a stage, and whether it was in the store already."""
    parent = done[one.parent].artifact if one.parent is not None else None
    teachers = _teachers(one, done, Path(config.store), task_key)
    key = stage_key(one.settings, one.stage, task_key, parent, teachers)
    name = one.group or one.name  # a member is what the stage alone would be, and lies where it would
    folder = Path(config.store) / f"{name}-{key}"
    with claim(folder) as whole:
        what = "reused" if whole else "resumed" if (folder / "last.ckpt").exists() else "building"
        log.info("%s [%s] %s", log_as, key, what)
        if not whole:
            lightning_logger = logger.stage(one.name, key, folder, dict(one.settings))
            way = one.stage.augmentation
            texts = transfer_set(way, one.settings["augmentation"], task, task_key) if way is not None else None
            report = one.stage.build(task, folder, parent, teachers, lightning_logger, texts)
            logger.stage_done(report)
            parents = {"start": parent.key if parent else None, "teachers": [t.key for t in teachers]}
            facts = {"key": key, "stage": name, "parents": parents, "settings": one.settings, "task": task_key}
            seal(folder, facts)
    return Artifact(folder), whole


def _teachers(one: Planned, done: Mapping[str, Done], root: Path, task_key: str) -> list[TeacherSource]:
    return [Tfidf(root, task_key) if name == TFIDF else Trained(done[name].artifact, name) for name in one.teachers]


def _failed(gate: Gate, verdict: Verdict, done: Sequence[Done]) -> GateFailed:
    beyond = "; ".join(one.line() for one in verdict.findings if not one.passed)
    return GateFailed(
        f"stage {verdict.subject!r} fails gate {gate.name} by {gate.judge} on {gate.split}, in points: {beyond}; the "
        f"pipeline stops here, what was built stays in the store; compress less, or take what gate {gate.name} allows: "
        f"{gate.instead()}",
        done,
        [verdict],
    )


def stage_key(
    settings: Mapping[str, Any], stage: Stage, task_key: str, parent: Artifact | None, teachers: Sequence[TeacherSource]
) -> str:
    """Return the hash of all that the stage's artifact depends on.

    How several teachers are combined changes nothing where there are not several.
    """
    counted = {name: value for name, value in settings.items() if name not in _NO_RESULT}
    if len(teachers) < 2:
        counted.pop("ensemble", None)
    trainer = {name: value for name, value in settings.get("trainer", {}).items() if name not in _PLACEMENT}
    if trainer:
        counted["trainer"] = trainer
    if parent is not None:
        counted["start"] = parent.key
    if stage.augmentation is not None:
        counted["augmentation"] = transfer_key(stage.augmentation, settings["augmentation"], task_key)
    fingerprint = stage.start.fingerprint() if isinstance(stage.start, Initializer) else None
    return digest([counted, fingerprint, task_key, [t.key for t in teachers], sources(counted)])
