"""Runs the stages of a plan: each is reused from the store or built, and then judged by a gate."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from clinlm.config.errors import ConfigError, DataError, TrainingError
from clinlm.config.settings import plain
from clinlm.config.targets import instantiate
from clinlm.models.artifact import COMPLETE, Artifact
from clinlm.pipeline import gate_policy
from clinlm.pipeline.gates import TFIDF_FLOOR, Gate, Verdict, open_gate
from clinlm.pipeline.results import GateFailed, StageResult
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.store.checkpoint import CHECKPOINT, drop_checkpoint
from clinlm.store.content import claim, seal, sealed, verified
from clinlm.store.key import cache_key
from clinlm.tasks.base import Task
from clinlm.tracking.base import RunLogger
from clinlm.tracking.epoch_judge import TrialPruned
from clinlm.tracking.run_progress import RunProgress
from clinlm.training.teachers.tfidf import TFIDF, Tfidf
from clinlm.training.teachers.trained import Trained
from clinlm.training.tfidf_int8 import TfidfInt8

log = logging.getLogger(__name__)


def open_task(config: DictConfig) -> tuple[Task, str]:
    """Return the task of `config`, opened on the store, and its key."""
    return open_task_from(plain(config.task), Path(config.store))


def open_task_from(settings: dict[str, Any], root: Path) -> tuple[Task, str]:
    """Return the task that `settings` describe, opened on the store `root`, and its key."""
    task: Task = instantiate(settings)
    key = cache_key(settings, task.fingerprint())
    task.open(root, key)
    return task, key


def run_stages(
    config: DictConfig,
    stages: Sequence[StageSpec],
    task: Task,
    task_key: str,
    logger: RunLogger,
    progress: RunProgress | None = None,
) -> list[StageResult]:
    """Run every stage of a plan in order, and return them all.

    A gate judges each stage against the first teacher on stored predictions, whether it was built now or before; see
    `gate_policy.judged_stages`. A gate with a floor judges the first teacher itself, as soon as it is built.

    Args:
        config: the whole configuration, with `store` and `gate`.
        stages: as `clinlm.pipeline.plan.plan` returns them.
        progress: kept up to date; changes no key and no artifact.

    Raises:
        GateFailed: a stage lost more than the gate allows; it stays in the store, and so do those before it.
        TrainingError: a stage diverged; those before it stay in the store.
    """
    progress = progress or RunProgress()
    progress.add_stages([(spec.name, _planned_epochs(spec)) for spec in stages])
    gate = open_gate(config)
    if gate is not None and gate.floor == TFIDF_FLOOR:
        _fit_floor(task)
    judged = gate_policy.judged_stages(stages) if gate is not None else set()
    if gate is not None and not judged:
        log.warning("gate %s judges nothing: no stage follows the model before compression", gate.name)
    own, inherited = gate_policy.techniques(stages), gate_policy.inherited_techniques(stages)
    original = gate_policy.find_original(stages)
    _check_checkpoints(stages, Path(config.store), task_key)
    done: dict[str, StageResult] = {}
    for number, spec in enumerate(stages, 1):
        log_as = f"stage {number} of {len(stages)}: {spec.name}"
        result = _build(spec, done, config, task, task_key, logger, log_as, progress)
        verdict = None
        if gate is not None and spec.name == original:
            verdict = gate.floor_verdict(spec.name, task, result.artifact)
        if gate is not None and spec.name in judged and original is not None:
            verified(done[original].artifact.folder)  # it may have been built hours ago
            lost = gate.measure(task, done[original].artifact, result.artifact)
            verdict = gate.verdict(spec.name, lost, own[spec.name])
        if verdict is not None:
            log.log(logging.INFO if verdict.passed else logging.ERROR, "%s", verdict.line())
        done[spec.name] = replace(result, techniques=inherited[spec.name], verdict=verdict)
        if gate is not None and verdict is not None and not verdict.passed:
            raise _failed(gate, verdict, list(done.values()))
    return list(done.values())


def planned_folders(stages: Sequence[StageSpec], root: Path, task_key: str) -> list[Path]:
    """Return the folders that the stages of a plan have in the store `root`, before any of them is built."""
    keys: dict[str, str] = {}
    for spec in stages:
        teachers = [Tfidf(root, task_key).key if name == TFIDF else keys[name] for name in spec.teachers]
        parent = None if spec.parent is None else keys[spec.parent]
        keys[spec.name] = stage_key(spec, task_key, parent, teachers)
    return [root / f"{spec.group or spec.name}-{keys[spec.name]}" for spec in stages]


def _check_checkpoints(stages: Sequence[StageSpec], root: Path, task_key: str) -> None:
    """Read what later stages start from before the first is trained; where all are in the store, nothing is read."""
    if not all(map(sealed, planned_folders(stages, root, task_key))):
        from clinlm.pipeline.building import check_checkpoints  # imports Lightning

        check_checkpoints(stages, root, task_key)


def _fit_floor(task: Task) -> None:
    """Fit the baselines of which the better is the floor of a gate, before anything trains.

    Raises:
        ConfigError: it cannot be fitted.
    """
    try:
        TfidfInt8.of(task).fitted(task)
    except DataError as error:
        raise ConfigError(f"gate.floor=tfidf needs the baseline: {error}; or set gate.floor=null or a share") from error


def _build(
    spec: StageSpec,
    done: Mapping[str, StageResult],
    config: DictConfig,
    task: Task,
    task_key: str,
    logger: RunLogger,
    log_as: str,
    progress: RunProgress,
) -> StageResult:
    """Return a stage from the store of `config`, built there if it is not complete."""
    root = Path(config.store)
    parent = done[spec.parent].artifact if spec.parent is not None else None
    teachers = [
        Tfidf(root, task_key) if name == TFIDF else Trained(done[name].artifact, name) for name in spec.teachers
    ]
    start = None if parent is None else parent.key
    key = stage_key(spec, task_key, start, [teacher.key for teacher in teachers])
    name = spec.group or spec.name  # a member shares its folder with the same stage on its own
    folder = root / f"{name}-{key}"
    progress.begin(spec.name)
    with claim(folder, COMPLETE) as whole:
        state = "reused" if whole else "resumed" if (folder / CHECKPOINT).exists() else "building"
        log.info("%s [%s] %s", log_as, key, state)
        if not whole:
            from clinlm.pipeline.building import build_stage  # imports Lightning

            for used in filter(None, [parent, *(teacher.artifact for teacher in teachers)]):
                verified(used.folder)  # it may have been built hours ago
            lightning_logger = logger.stage(spec.name, key, folder, dict(spec.settings))
            sources, shown = (parent, teachers), (lightning_logger, progress)
            try:
                report = build_stage(spec, (task, task_key), folder, sources, shown, plain(config.task))
            except TrainingError as error:
                raise TrainingError(f"stage {spec.name}: {error}") from error
            except TrialPruned:
                drop_checkpoint(folder)  # three times the weights, of a trial that nobody continues
                raise
            logger.stage_done(report)
            parents = {"start": start, "teachers": [teacher.key for teacher in teachers]}
            facts = {"key": key, "stage": name, "parents": parents, "settings": spec.settings, "task": task_key}
            seal(folder, facts)
    progress.end(spec.name, whole, Artifact(folder).report)
    answering = tuple(teachers) if spec.needs_logits else ()
    return StageResult(spec.name, spec.role, Artifact(folder), whole, answering)


def _planned_epochs(spec: StageSpec) -> int:
    """Return how many epochs the settings of a stage ask for, its own or those of a callback."""
    callbacks = (spec.settings.get("callbacks") or {}).values()
    asked = [spec.settings.get("epochs"), *(own.get("epochs") for own in callbacks if isinstance(own, Mapping))]
    return max((epochs for epochs in asked if isinstance(epochs, int)), default=0)


def _failed(gate: Gate, verdict: Verdict, done: Sequence[StageResult]) -> GateFailed:
    failed = [finding for finding in verdict.findings if not finding.passed]
    beyond = "; ".join(finding.line() for finding in failed)
    remedy = f"compress less, or use what gate {gate.name} allows: {gate.alternatives()}"
    judge = f" by {gate.judge}"
    if all(finding.quantity.startswith("floor") for finding in failed):
        judge = ""  # a floor is compared with the value
        remedy = (
            "train a better model (more notes, epochs=, another model@teacher=), use TF-IDF if it is enough, or set "
            "gate.floor=null (or a number) to compress it all the same"
        )
    return GateFailed(
        f"stage {verdict.subject!r} fails gate {gate.name}{judge} on {gate.split}, in points: {beyond}; the "
        f"pipeline stops here, and what was built stays in the store; {remedy}",
        done,
        [verdict],
    )


def stage_key(spec: StageSpec, task_key: str, parent: str | None, teachers: Sequence[str]) -> str:
    """Return the hash of all that the stage's artifact depends on, from the keys of its parent and its teachers.

    How several teachers are combined changes nothing where there are not several.
    """
    own = dict(spec.settings)
    if len(teachers) < 2:
        own.pop("ensemble", None)
    if parent is not None:
        own["start"] = parent
    if spec.texts is not None:
        own["augmentation"] = transfer_key(spec.settings["augmentation"], spec.texts, task_key)
    return cache_key(own, spec.fingerprint, task_key, teachers)


def transfer_key(settings: Mapping[str, Any], fingerprint: str, task_key: str) -> str:
    """Return the hash of all that the texts of an augmentation depend on; the training seed is not part of it.

    Args:
        settings: of the augmentation.
        fingerprint: see `Augmentation.fingerprint`.
        task_key: of the opened task; depends on its seed.
    """
    return cache_key(settings, fingerprint, task_key)
