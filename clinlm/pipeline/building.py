"""Builds what the store does not have: one stage, and the texts that it learns from besides."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger

from clinlm.config.chatter import quiet_loggers
from clinlm.config.errors import ConfigError
from clinlm.models.artifact import Artifact
from clinlm.models.initializers.base import Initializer
from clinlm.models.initializers.pretrained import Pretrained
from clinlm.pipeline.ddp import Origin
from clinlm.pipeline.execution import stage_key, transfer_key
from clinlm.pipeline.stage import Stage
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.store.content import claim, seal, sealed
from clinlm.store.key import counted_settings
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet
from clinlm.tracking.run_progress import RunProgress
from clinlm.tracking.stage_bar import StageBar
from clinlm.training.augmentation.base import Augmentation
from clinlm.training.teachers.base import TeacherSource

log = logging.getLogger(__name__)


def build_stage(
    spec: StageSpec,
    opened: tuple[Task, str],
    folder: Path,
    sources: tuple[Artifact | None, Sequence[TeacherSource]],
    shown: tuple[Logger | None, RunProgress],
    task_settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build a stage in `folder`, which is not sealed, and return its report.

    Args:
        opened: the task, opened, and its key.
        sources: the artifact that it continues, and its teachers.
        shown: where its curves go, and the progress of the run.
        task_settings: that the task was made of, for processes on other devices; None where one device trains.

    Raises:
        ConfigError: files that are in its key have changed since the plan was made, maybe hours ago.
    """
    quiet_loggers()  # again: Lightning, imported only now, sets a level of its own
    (task, task_key), (parent, teachers), (logger, progress) = opened, sources, shown
    stage, texts = spec.open(), None
    start = stage.start.fingerprint() if isinstance(stage.start, Initializer) else None
    if (start, stage.augmentation and stage.augmentation.fingerprint()) != (spec.fingerprint, spec.texts):
        raise ConfigError(
            f"stage {spec.name!r} must be built from the files that its key names, got others: its checkpoint or its "
            "texts changed after the run began; run the command again"
        )
    if stage.augmentation is not None:
        texts = transfer_set(stage.augmentation, spec.settings["augmentation"], task, task_key)
    origin = None if task_settings is None else Origin(spec.settings, task_settings)
    return _observed(stage, progress, spec.name).build(task, folder, parent, teachers, logger, texts, origin)


def check_checkpoints(stages: Sequence[StageSpec], root: Path, task_key: str) -> None:
    """Read the checkpoints of later stages if the first is to be trained, so that none fails hours later."""

    def stored(spec: StageSpec) -> bool:
        name = f"{spec.group or spec.name}-{stage_key(spec, task_key, None, [])}"
        return not spec.teachers and sealed(root / name)

    first, *later = stages
    if first.parent is not None or stored(first):
        return
    for spec in later:
        start = spec.open().start
        if isinstance(start, Pretrained) and not stored(spec):
            start.read()


def _observed(stage: Stage, progress: RunProgress, name: str) -> Stage:
    """Return the stage with a bar that keeps its progress; its settings, and so its key, are as before."""
    own = progress.build(name)
    if any(isinstance(callback, ProgressBar) for callback in (stage.callbacks or {}).values()):
        return stage
    judge = progress.judge if progress.judge is not None and progress.judge.stage == name else None
    bar = StageBar(own, progress.changed, progress.metric, judge)
    trainer = partial(stage.trainer, enable_progress_bar=True)  # Lightning refuses a bar of ours without it
    return replace(stage, callbacks={**(stage.callbacks or {}), "progress": bar}, trainer=trainer)


def transfer_set(augmentation: Augmentation, settings: Mapping[str, Any], task: Task, task_key: str) -> TransferSet:
    """Return the texts from the store folder `transfer-<key>` beside the task's, or make them there, under its lock.

    They depend on the task's seed, so that the stages of a sweep over training seeds share them, as they share their
    test documents.

    Args:
        settings: of the augmentation.
        task: opened, with its key.
    """
    assert task.folder is not None
    key = transfer_key(settings, augmentation.fingerprint(), task_key)
    folder = TransferSet(key, ()).folder(task.folder.parent)
    with claim(folder, ("texts.parquet",)) as whole:
        log.info("transfer set [%s] %s", key, "reused" if whole else "building")
        if not whole:
            texts = augmentation.texts(task, task.seed)
            pl.DataFrame({"text": texts}).write_parquet(folder / "texts.parquet")
            facts = {"key": key, "task": task_key, "texts": len(texts), "settings": counted_settings(settings)}
            facts |= {"released": augmentation.released}
            seal(folder, facts)
    return TransferSet(key, pl.read_parquet(folder / "texts.parquet")["text"].to_list())
