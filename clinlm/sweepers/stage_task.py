"""The stages that the jobs of a sweep need and the store lacks, planned before any job runs, and built one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from omegaconf import DictConfig, OmegaConf

from clinlm.config.chatter import quiet_loggers, quiet_warnings
from clinlm.config.errors import ClinlmError
from clinlm.config.methods_path import prefer_own_methods
from clinlm.config.resolvers import register_resolvers
from clinlm.config.runtime import keep_memory, share_cores
from clinlm.config.settings import plain
from clinlm.config.targets import allow_targets, allowed_packages, instantiate
from clinlm.pipeline import execution
from clinlm.pipeline.kept_plan import planned_stages
from clinlm.pipeline.opened_store import opened_store
from clinlm.pipeline.protocol import fix_protocol
from clinlm.pipeline.stage_spec import StageSpec
from clinlm.store.content import sealed
from clinlm.store.kept_sources import kept_sources
from clinlm.store.key import cache_key, digest
from clinlm.tasks.base import Task
from clinlm.tracking.opened import open_logger
from clinlm.training.teachers.tfidf import TFIDF


@final
@dataclass(frozen=True)
class StageTask:
    """A stage to be built.

    Attributes:
        folder: in the store.
        parents: folders of the stages before it that it needs, and the store may lack.
        trains: whether anything learns.
    """

    name: str
    folder: str
    parents: tuple[str, ...]
    trains: bool


def plan_ahead(configs: Sequence[DictConfig]) -> list[list[StageTask]]:
    """Return, for each job, the stages that it needs and the store lacks, in order.

    None for a job that may end before its last stage, by a gate or a pruner, and for one whose settings are refused:
    it says so itself. The margin of every job is written into the store, as before each run.

    Args:
        configs: of the jobs, with that of Hydra.
    """
    tasks: dict[str, tuple[Task, str]] = {}
    return [_planned(config, tasks) for config in configs]


def build_ahead(config: DictConfig, task: StageTask) -> list[str]:
    """Build a stage in the store, and those before it that are not there yet; return the names of their folders.

    Args:
        config: of a job that needs it, without Hydra's.

    Raises:
        ClinlmError: as the job would.
    """
    register_resolvers()
    allow_targets(allowed_packages(config))
    prefer_own_methods()
    quiet_loggers()
    quiet_warnings()
    keep_memory()
    share_cores()
    with opened_store(config) as root, kept_sources(root):
        stages = _before(planned_stages(config, root), task.name)
        opened, key = execution.open_task(config)
        done = execution.run_stages(config, stages, opened, key, open_logger(plain(config.logger)))
    return [result.artifact.folder.name for result in done if not result.cached]


def _planned(config: DictConfig, tasks: dict[str, tuple[Task, str]]) -> list[StageTask]:
    pruner = OmegaConf.select(config, "hydra.sweeper.pruner")
    if "stages" not in config or config.get("gate") is not None or pruner is not None:
        return []
    content = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    try:
        with opened_store(content) as root, kept_sources(root):
            stages = planned_stages(content, root)
            settings = plain(content.task)
            name = digest(settings)
            if name not in tasks:
                task: Task = instantiate(settings)
                tasks[name] = (task, cache_key(settings, task.fingerprint()))
            task, key = tasks[name]
            folders = execution.planned_folders(stages, root, key)
            fix_protocol(content, folders, task.metrics)
    except ClinlmError:
        return []
    places = {spec.name: str(folder) for spec, folder in zip(stages, folders, strict=True)}
    return [
        StageTask(spec.name, places[spec.name], tuple(places[name] for name in _needs(spec)), spec.trains)
        for spec, folder in zip(stages, folders, strict=True)
        if not sealed(folder)
    ]


def _needs(spec: StageSpec) -> list[str]:
    """Return the stages that a stage is made from; the baseline that may teach as well is none."""
    found = [*([] if spec.parent is None else [spec.parent]), *spec.teachers]
    return [name for name in dict.fromkeys(found) if name != TFIDF]


def _before(stages: Sequence[StageSpec], name: str) -> list[StageSpec]:
    """Return a stage of a plan and all that it is made from, in order."""
    wanted = {name}
    for spec in reversed(stages):
        if spec.name in wanted:
            wanted.update(_needs(spec))
    return [spec for spec in stages if spec.name in wanted]
