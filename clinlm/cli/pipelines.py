"""Pipelines and sweeps: what `clinlm` does without the name of a command."""

import os
import re
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from clinlm.cli.errors import report
from clinlm.cli.live import close_views, job_progress
from clinlm.cli.preflight import check_settings, record_used
from clinlm.config.chatter import quiet_loggers
from clinlm.config.methods_path import prefer_own_methods
from clinlm.config.readers import refuse_unread
from clinlm.config.resolvers import made_folders, register_resolvers
from clinlm.config.runtime import share_cores
from clinlm.config.splits import refuse_several
from clinlm.config.targets import allow_targets, allowed_packages
from clinlm.config.validation import CONF
from clinlm.pipeline.opened_store import opened_store
from clinlm.store.content import used_by
from clinlm.store.kept_sources import kept_sources
from clinlm.store.unused import discard_unused
from clinlm.sweepers.joblib_workers import end_with_sweep
from clinlm.sweepers.optuna import register_optuna
from clinlm.sweepers.product import register_product
from clinlm.sweepers.ray import register_ray
from clinlm.sweepers.trial_judge import trial_judge
from clinlm.tracking.epoch_judge import TrialPruned
from clinlm.tracking.planned_jobs import PlannedJobs

_MULTIRUN = ("-m", "--multirun")
_PLACES = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")
"""Options that say where the configuration is, and not what to do."""


def as_sweep(words: list[str]) -> list[str]:
    """Return the command line of a sweep where `resplits=k` repeats a single pipeline; others as they are.

    Its folder is that of the run, where one was set.
    """
    several = [word for word in words if re.fullmatch(r"\+{0,2}resplits=(?!1$).*", word)]
    options = [word for word in words if word.startswith("-") and word.partition("=")[0] not in _PLACES]
    if not several or options:  # already a sweep, or a question: --cfg, --help
        return words
    return ["-m", *(re.sub(r"^hydra\.run\.dir=", "hydra.sweep.dir=", word) for word in words)]


class _RunFailed(BaseException):
    """Takes the error of a single run past Hydra, which would print a line of its own before the message."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def launch(config: DictConfig) -> dict[str, float]:
    """Run one pipeline; return what a sweeper may optimise. Worker processes of a launcher start here, not in
    `clinlm.cli.main`.

    In a sweep, a job that fails its gate logs why, leaves a file that `clinlm.report.sweep.GateStatus` finds, and
    returns NaN, so that the other jobs still run and the sweep gets its table.
    """
    register_resolvers()
    allow_targets(allowed_packages(config))  # of a job in a process of its own; checked where it was composed
    prefer_own_methods()
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _run(config)
    try:
        return _run(config)
    except BaseException as error:
        discard_unused(Path(HydraConfig.get().runtime.output_dir))
        if isinstance(error, Exception):
            raise _RunFailed from error
        raise


def _run(config: DictConfig) -> dict[str, float]:
    end_with_sweep()
    quiet_loggers()
    if HydraConfig.get().mode != RunMode.MULTIRUN:  # of a sweep, one job has to read a setting: its sweeper checks
        refuse_unread((HydraConfig.get().overrides.task, config))
        refuse_several(config)
    folder = Path(HydraConfig.get().runtime.output_dir)
    with job_progress(folder) as progress, opened_store(config) as store:
        check_settings(config)
        record_used(config)
        from clinlm.cli.run import run
        from clinlm.pipeline.results import GateFailed
        from clinlm.report.sweep import record_failure

        share_cores()
        progress.judge = trial_judge(HydraConfig.get())
        try:
            with kept_sources(store), used_by(folder, store):
                return run(config, progress)
        except GateFailed as failed:
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                raise
            return record_failure(failed, folder)
        except TrialPruned:
            progress.pruned = True
            raise


def run_pipelines() -> None:
    """Run what Hydra reads from the command line; exit with 3 where a gate failed, 1 after any other error."""
    quiet_loggers()
    register_resolvers()
    register_optuna()
    register_product()
    register_ray()
    # Hydra's parser wants all overrides together; `clinlm +experiment=x -m pipeline=a,b` is what people type.
    sys.argv[1:] = sorted(as_sweep(sys.argv[1:]), key=lambda word: word not in _MULTIRUN)
    traceback = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise instead of printing and exiting
    try:
        prefer_own_methods()
        launch()
    except BaseException as raised:  # reported, or raised again: see `report`
        close_views()
        if PlannedJobs.folder is not None:
            discard_unused(PlannedJobs.folder)
        error = raised.__cause__ or raised if isinstance(raised, _RunFailed) else raised
        os.environ["HYDRA_FULL_ERROR"] = traceback or ""
        report(error, "clinlm")
    finally:
        for folder in made_folders():  # of a question, such as --cfg hydra --resolve, or a mistake
            discard_unused(folder)
