"""A sweep over every combination of values, without settings that nothing reads and without jobs that are equal."""

import logging
from collections.abc import Mapping, Sequence
from typing import final

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from clinlm.config.readers import refuse_unread
from clinlm.config.splits import check_splits, first_split
from clinlm.config.usage import unread, used_settings
from clinlm.store.key import digest
from clinlm.sweepers.base import JobSweeper
from clinlm.sweepers.split_jobs import Job, split_jobs
from clinlm.tracking.planned_jobs import PlannedJobs

log = logging.getLogger(__name__)


def register_product() -> None:
    """Register `Product` for `hydra/sweeper=product`, as `clinlm.sweepers.optuna.register_optuna` does."""
    Plugins.instance().class_name_to_class["hydra_plugins.clinlm.Product"] = Product


def compose_jobs(loader: ConfigLoader, config: DictConfig, jobs: Sequence[Job]) -> list[tuple[Job, DictConfig]]:
    """Return every job of a sweep with its settings.

    Raises:
        HydraException, OmegaConfBaseException: an override does not fit.
        ConfigError: no job reads a setting that the user chose.
    """
    composed: list[tuple[Job, DictConfig]] = []
    for job in jobs:
        settings = loader.load_sweep_config(config, list(job))
        composed.append((job, OmegaConf.masked_copy(settings, [str(name) for name in settings if name != "hydra"])))
    refuse_unread(*composed)
    return composed


def distinct_jobs(composed: Sequence[tuple[Job, DictConfig]]) -> list[Job]:
    """Return the jobs without those that equal an earlier one: a warning names both, and what the job does not read."""
    common = set.intersection(*({*job} for job, _ in composed))
    first: dict[str, Job] = {}
    for job, config in composed:
        key = digest([OmegaConf.to_container(used_settings(config)), [str(name) for name in config.stages]])
        if key in first:
            names = [" ".join(own for own in each if own not in common) for each in (job, first[key])]
            idle = unread(config, [own for own in job if own not in common])
            reason = f": nothing in it reads {', '.join(idle)}" if idle else ""
            log.warning("job %s is left out, for it equals job %s%s", *names, reason)
        first.setdefault(key, job)
    return list(first.values())


@final
class Product(JobSweeper):
    """Hydra's own sweeper, but that it runs equal jobs once, and refuses a setting that no job reads.

    With `resplits=k` every job runs on k splits.

    Args:
        max_batch_size: jobs that the launcher gets together; None for all.
        params: the search space, as `hydra.sweeper.params` of Hydra's own.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.max_batch_size, self.params = max_batch_size, params or {}

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the jobs.

        Raises:
            ConfigError: no job reads a setting that the user chose; or see `clinlm.config.splits.check_splits`.
        """
        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(loader)
        named = {override.get_key_element() for override in parser.parse_overrides(arguments)}
        typed = [*(f"{name}={values}" for name, values in self.params.items() if name not in named), *arguments]
        (every,) = BasicSweeper.split_arguments(parser.parse_overrides(typed), None)
        composed = compose_jobs(loader, self.config, every)
        splits, first = check_splits([config for _, config in composed]), first_split(composed[0][1])
        jobs = split_jobs(distinct_jobs(composed), splits, first)
        self.open_folder()
        PlannedJobs.add(jobs, first=0)
        size = self.max_batch_size or len(jobs)
        returns: list[Sequence[JobReturn]] = []
        for start in range(0, len(jobs), size):
            returns.append(self.launcher.launch(jobs[start : start + size], initial_job_idx=start))
            for job in returns[-1]:
                _ = job.return_value  # raises the error of a job that failed
        return returns
