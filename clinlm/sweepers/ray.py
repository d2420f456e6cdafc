"""Ray as a launcher of Hydra: a task for each stage that jobs need and the store lacks, and one for each job."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from clinlm.config.errors import ModelError
from clinlm.config.ray_cluster import connected, load_ray
from clinlm.tracking.planned_jobs import PlannedJobs

if TYPE_CHECKING:
    from clinlm.sweepers.stage_task import StageTask

log = logging.getLogger(__name__)
_LOCK = threading.Lock()
_ray: Any = None
"""Ray, where this process is connected; the connection ends with it."""


def register_ray() -> None:
    """Register `Ray` for `hydra/launcher=ray`, as `clinlm.sweepers.optuna.register_optuna` does."""
    Plugins.instance().class_name_to_class["hydra_plugins.clinlm.Ray"] = Ray


@final
class Ray(Launcher):
    """Runs jobs as tasks of a Ray cluster.

    Each stage that is not in the store is a task of its own, whichever and however many jobs need it. A task waits for
    those of the stages before it, and a job for those of its stages, without holding a core. What is lost with a worker
    or a machine, Ray starts again, and a stage goes on from its last checkpoint. A job with a gate builds its stages
    itself, since those after one that fails are not to be built, and so does a trial that a pruner may end.

    Args:
        address: "local" starts Ray on this machine; auto or HOST:PORT joins a cluster, whose machines have clinlm, and
            see `store` and the folder of the sweep under the same paths.
        workers: cores of a Ray on this machine; None for all.
        stages: Ray's options of a task that trains a stage.
        jobs: of the other tasks, which prune, quantise, compare and measure.
    """

    def __init__(self, address: str, workers: int | None, stages: Mapping[str, Any], jobs: Mapping[str, Any]) -> None:
        self.address, self.workers, self.stages, self.jobs = address, workers, dict(stages), dict(jobs)
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Launcher.setup`."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and return what they returned; one whose worker died too often failed.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: there is no cluster at the address.
        """
        from clinlm.sweepers.stage_task import plan_ahead  # imports numpy

        assert self.config is not None and self.hydra_context is not None
        ray = _joined(self.address, self.workers)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        configs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = f"{config.hydra.job.name}_{number}"
                config.hydra.job.num = number
            configs.append(config)
        build = ray.remote(_build)
        built: dict[str, Any] = {}
        needed = []
        with _LOCK:  # what a plan uses of the store is of the whole process, and a study has several threads
            plans = plan_ahead(configs)
        for config, tasks in zip(configs, plans, strict=True):
            first = [Path(task.folder).name for task in tasks if task.folder not in built]
            for task in tasks:
                if task.folder not in built:
                    options = self.stages if task.trains else self.jobs
                    before = [built[folder] for folder in task.parents if folder in built]
                    built[task.folder] = build.options(**options, name=f"stage {task.name}").remote(
                        os.getcwd(), config, task, *before
                    )
            needed.append((first, [built[task.folder] for task in tasks]))
        if built:
            log.info(
                "%d stages of %d jobs are not in the store: each is built by a task of its own",
                len(built),
                len(configs),
            )
        run = ray.remote(_run)
        state = Singleton.get_state()
        running = [
            run.options(**self.jobs, name=f"job {config.hydra.job.num}").remote(
                os.getcwd(), self.hydra_context, config, self.task_function, state, first, *stages
            )
            for config, (first, stages) in zip(configs, needed, strict=True)
        ]
        return [_outcome(ray, own) for own in running]


def _joined(address: str, workers: int | None) -> Any:
    """Return Ray, connected once, until this process ends: a study launches its jobs one by one, from several threads.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: see `connected`.
    """
    global _ray
    with _LOCK:
        if _ray is None:
            ray, stack = load_ray(address), ExitStack()
            setting = "hydra.launcher.address"
            stack.enter_context(connected(ray, address, workers or os.cpu_count() or 1, setting, log_to_driver=True))
            atexit.register(stack.close)
            _ray = ray
        return _ray


def _build(place: str, config: DictConfig, task: StageTask, *before: Any) -> list[str]:
    """Build a stage in a worker, and return the names of the folders of what was built.

    An error is told by the job that needs the stage, which builds it again.
    """
    from clinlm.sweepers.stage_task import build_ahead

    os.chdir(place)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    setup_globals()
    HydraConfig.instance().set_config(config)
    content = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    try:
        return build_ahead(content, task)
    except Exception as error:
        log.warning("stage %s: %s: %s", task.name, type(error).__name__, error)
        return []


def _run(
    place: str,
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    state: dict[Any, Any],
    first: Sequence[str],
    *stages: Sequence[str],
) -> JobReturn:
    """Run a job in a worker.

    Args:
        first: names of the folders of the stages that no job before it needs: they count as built by this one.
        stages: of the stages that were built for it, the names of their folders.
    """
    os.chdir(place)
    PlannedJobs.built = frozenset(name for names in stages for name in names if name in first)
    setup_globals()
    Singleton.set_state(state)
    HydraConfig.instance().set_config(config)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _outcome(ray: Any, running: Any) -> JobReturn:
    try:
        found: JobReturn = ray.get(running)
    except ray.exceptions.RayError as error:
        lost = ModelError(
            f"the worker of a job must live until it ends, got {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}; give workers more memory, or raise hydra.launcher.jobs.max_retries"
        )
        found = JobReturn(status=JobStatus.FAILED)
        found.return_value = lost
    return found
