"""A pipeline: the ordered mapping of stages, each reused from the store or built."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm import store
from clinlm.artifact import Artifact
from clinlm.loggers.base import RunLogger
from clinlm.stage import Stage
from clinlm.starts.base import Start
from clinlm.task import Task

log = logging.getLogger(__name__)

# Where and how it runs, and what its folder is called, changes no result. Start and teachers count by their keys.
_NO_RESULT = ("trainer", "role", "teachers")
_NO_RESULT_TASK = ("root",)
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
    """

    name: str
    role: str
    artifact: Artifact
    cached: bool


def open_task(config: DictConfig) -> tuple[Task, str]:
    """Return the task of `config`, opened on the store, and its key."""
    settings = _plain(config.task)
    task: Task = instantiate(settings)
    counted = {name: value for name, value in settings.items() if name not in _NO_RESULT_TASK}
    key = store.digest([counted, task.corpus.fingerprint(), store.sources(settings)])
    task.open(Path(config.store), key)
    return task, key


def plan(config: DictConfig) -> list[tuple[str, dict[str, Any], Stage]]:
    """Return name, settings and stage for all stages, in order: a bad value fails here, before anything is trained.

    Raises:
        ValueError: there is no stage, or a setting is out of its range.
    """
    if not config.stages:
        raise ValueError("a pipeline has stages; this one has none; choose one with pipeline=a|b|c|baseline")
    settings = {str(name): _plain(config.stages[name]) for name in config.stages}
    return [(name, plain, instantiate(plain)) for name, plain in settings.items()]


def run(config: DictConfig, task: Task, task_key: str, logger: RunLogger) -> list[Done]:
    """Run every stage in order and return them all.

    Args:
        config: the whole configuration, with `stages` and `store`.
        task: opened.
        task_key: its key.
        logger: follows the stages that are built.

    Raises:
        ValueError: a stage names a stage that did not run before it.
    """
    stages = plan(config)
    done: list[Done] = []
    for number, (name, settings, stage) in enumerate(stages, 1):
        parent = _parent(name, stage, done)
        teachers = _teachers(name, stage, done)
        key = stage_key(settings, stage, task_key, parent, teachers)
        folder = Path(config.store) / f"{name}-{key}"
        with store.claim(folder) as whole:
            what = "reused" if whole else "resumed" if (folder / "last.ckpt").exists() else "building"
            log.info("stage %d of %d: %s [%s] %s", number, len(stages), name, key, what)
            if not whole:
                lightning_logger = logger.stage(name, key, folder, settings)
                report = stage.build(task, folder, parent, teachers, lightning_logger)
                logger.stage_done(report)
                parents = {"start": parent.key if parent else None, "teachers": [t.key for t in teachers]}
                store.seal(
                    folder, {"key": key, "stage": name, "parents": parents, "settings": settings, "task": task_key}
                )
        done.append(Done(name, stage.role, Artifact(folder), whole))
    return done


def stage_key(
    settings: Mapping[str, Any], stage: Stage, task_key: str, parent: Artifact | None, teachers: Sequence[Artifact]
) -> str:
    """Return the hash of all that the stage's artifact depends on."""
    counted = {name: value for name, value in settings.items() if name not in _NO_RESULT}
    trainer = {name: value for name, value in settings.get("trainer", {}).items() if name not in _PLACEMENT}
    if trainer:
        counted["trainer"] = trainer
    if parent is not None:
        counted["start"] = parent.key
    fingerprint = stage.start.fingerprint() if isinstance(stage.start, Start) else None
    return store.digest([counted, fingerprint, task_key, [t.key for t in teachers], store.sources(counted)])


def _parent(name: str, stage: Stage, done: Sequence[Done]) -> Artifact | None:
    if isinstance(stage.start, Start):
        return None
    if stage.start is not None:
        return _named(name, "start", stage.start, done)
    line = [one.artifact for one in done if one.role == stage.role]
    if not line:
        raise ValueError(
            f"stage {name!r} goes on from the latest stage of role {stage.role!r}, but none ran before it; "
            f"give stages.{name}.start a model or an earlier stage"
        )
    return line[-1]


def _teachers(name: str, stage: Stage, done: Sequence[Done]) -> list[Artifact]:
    if not stage.needs_teacher:
        return []
    if stage.teachers is not None:
        return [_named(name, "teachers", one, done) for one in stage.teachers]
    line = [one.artifact for one in done if one.role == "teacher"]
    if not line:
        raise ValueError(f"stage {name!r} needs a teacher, but no stage of role teacher ran before it")
    return [line[0] if stage.role == "teacher" else line[-1]]


def _named(name: str, what: str, wanted: str, done: Sequence[Done]) -> Artifact:
    for one in done:
        if one.name == wanted:
            return one.artifact
    ran = [one.name for one in done]
    raise ValueError(
        f"stage {name!r} wants {what} {wanted!r}, but only {ran} ran before it; correct stages.{name}.{what}"
    )


def _plain(node: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
