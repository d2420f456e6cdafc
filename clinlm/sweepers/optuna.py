"""Optuna as a sweeper of Hydra: chooses the next jobs by the results of the last, for several objectives at once."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.remedies import explain
from clinlm.config.splits import refuse_resplits
from clinlm.config.targets import instantiate
from clinlm.store.key import digest
from clinlm.sweepers import space, study
from clinlm.sweepers.base import JobSweeper
from clinlm.sweepers.product import compose_jobs
from clinlm.tracking.planned_jobs import PlannedJobs

if TYPE_CHECKING:
    from optuna import Study, Trial

log = logging.getLogger(__name__)


def register_optuna() -> None:
    """Register `Optuna` for `hydra/sweeper=optuna`: Hydra looks for plugins in the package `hydra_plugins` only."""
    Plugins.instance().class_name_to_class["hydra_plugins.clinlm.Optuna"] = Optuna


@final
class Optuna(JobSweeper):
    """A sweeper that runs the trials of an Optuna study as jobs of any launcher.

    The study is in `folder`/`study_name`.db. The same command continues its study: finished trials count, and those
    that were running when the process was killed are tried first. The sampler is made anew for every batch, from its
    seed and the number of finished trials, so that the same trials follow whether or not the sweep was interrupted.

    Source    Akiba et al. 2019, "Optuna", arXiv:1907.10902; the default sampler is that of Ozaki et al. 2020,
              "Multiobjective tree-structured Parzen estimator for computationally expensive optimization", GECCO.
    Departs   trials run in batches: the next batch starts when all trials of the last have ended.

    Args:
        sampler: settings of one of Optuna's samplers; its `seed` may be None.
        objectives: name of a value that jobs return -> maximize, minimize, or None to leave it out.
        n_trials: total of finished trials, at least 1.
        n_jobs: concurrent trials; -1 for one per core.
        study_name: None for a name made from the settings, the search space and the objectives.
        folder: of the studies.
        max_failure_rate: share of `n_trials` that may fail in one run of the command, in [0, 1].
        params: the search space, as `hydra.sweeper.params` of Hydra's own sweeper.
    """

    def __init__(
        self,
        sampler: Mapping[str, Any],
        objectives: Mapping[str, str | None],
        n_trials: int = 20,
        n_jobs: int = 1,
        study_name: str | None = None,
        folder: str = "outputs/studies",
        max_failure_rate: float = 0.2,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.objectives = {name: direction for name, direction in objectives.items() if direction is not None}
        if not self.objectives or not set(self.objectives.values()) <= {"maximize", "minimize"}:
            raise ConfigError(f"objectives must be one or more of maximize or minimize, got {dict(objectives)}")
        if n_trials < 1 or not (n_jobs >= 1 or n_jobs == -1) or not 0 <= max_failure_rate <= 1:
            raise ConfigError(
                "n_trials must be at least 1, n_jobs at least 1 or -1, max_failure_rate in [0, 1], got "
                f"{n_trials}, {n_jobs}, {max_failure_rate}"
            )
        self.sampler, self.n_trials, self.study_name, self.folder = sampler, n_trials, study_name, Path(folder)
        self.n_jobs = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        self.allowed = max_failure_rate * n_trials
        self.params = params or {}

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run trials until the study has `n_trials`, and write `study.json` into the folder of the sweep.

        Raises:
            ConfigError: invalid settings, an objective that jobs do not return, or a study open in another process.
            ModelError: too many trials failed.
        """
        assert self.config is not None and self.hydra_context is not None
        searched = space.read_space(self.params, arguments, self.hydra_context.config_loader)
        composed = compose_jobs(self.hydra_context.config_loader, self.config, searched.probes())
        refuse_resplits([config for _, config in composed])
        self._refuse_missing_latency([config for _, config in composed])
        folder = self.open_folder()
        problem = self._problem(searched)
        name = self.study_name or f"study-{digest(problem)}"
        with study.open_study(self.folder, name, self.objectives, problem) as opened:
            log.info("study %s, of %d trials", study.storage_url(self.folder, name), self.n_trials)
            try:
                return self._run(opened, searched)
            finally:
                self._log_results(study.write_study(opened, self.objectives, self.folder, folder))

    def _refuse_missing_latency(self, configs: Sequence[DictConfig]) -> None:
        """Raise where jobs may leave out a latency that the study optimises: every such trial would fail."""
        if "latency_ms" in self.objectives and any(
            OmegaConf.select(config, "report.busy") == "refuse" for config in configs
        ):
            raise ConfigError(
                "a study of latency_ms needs every latency, got report.busy=refuse; set report.busy=mark, or "
                "hydra.sweeper.objectives.latency_ms=null"
            )

    def _run(self, opened: Study, searched: space.Space) -> list[Sequence[JobReturn]]:
        assert self.launcher is not None
        returns: list[Sequence[JobReturn]] = []
        failed: list[int] = []
        while left := max(0, self.n_trials - len(study.finished_trials(opened))):
            batch = self._ask(opened, searched, min(left, self.n_jobs))
            overrides = [searched.overrides(trial.params) for trial in batch]
            PlannedJobs.add(overrides, first=batch[0].number, total=len(PlannedJobs.jobs) + left)
            for trial, typed in zip(batch, overrides, strict=True):
                study.start_trial(trial, typed)
            returns.append(self.launcher.launch(overrides, initial_job_idx=batch[0].number))
            ended = zip(batch, returns[-1], strict=True)
            failed += [trial.number for trial, job in ended if not self._end_trial(opened, trial, job)]
            if len(failed) > self.allowed:
                raise ModelError(
                    f"at most {self.allowed:g} of {self.n_trials} trials may fail, got {len(failed)}: "
                    f"{', '.join(map(str, failed))}; see their errors above, or raise hydra.sweeper.max_failure_rate"
                )
        return returns

    def _problem(self, searched: space.Space) -> dict[str, Any]:
        """Return what makes trials comparable, as JSON: settings, search space and objectives."""
        assert self.config is not None
        settings = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        return {
            "settings": digest(OmegaConf.to_yaml(settings, resolve=False)),
            "search space": searched.as_json(),
            "objectives": self.objectives,
        }

    def _ask(self, opened: Study, searched: space.Space, count: int) -> list[Trial]:
        sampler = dict(self.sampler)
        if sampler.get("seed") is not None:
            sampler["seed"] = int(digest([sampler["seed"], len(study.finished_trials(opened))])[:8], 16)
        opened.sampler = instantiate(sampler)
        batch = [opened.ask(dict(searched.distributions)) for _ in range(count)]
        # Queued trials are at the end of the study, so numbers are consecutive, as those of jobs are.
        assert [trial.number for trial in batch] == [batch[0].number + offset for offset in range(count)]
        return batch

    def _end_trial(self, opened: Study, trial: Trial, job: JobReturn) -> bool:
        """Store what a job returned; return whether the trial is complete."""
        try:
            returned = job.return_value
        except Exception as error:  # a job may fail for any reason; the sweep continues
            return self._fail(opened, trial, explain(error) or type(error).__name__)
        values = self._values(returned)
        if not all(map(math.isfinite, values)):
            line = _line(self.objectives, values)
            return self._fail(opened, trial, f"objectives must be finite, got {line}")
        assert job.hydra_cfg is not None
        study.complete_trial(opened, trial, values, str(job.hydra_cfg.hydra.runtime.output_dir))
        number = len(study.finished_trials(opened))
        log.info("trial %d of %d: %s", number, self.n_trials, _line(self.objectives, values))
        return True

    def _fail(self, opened: Study, trial: Trial, reason: str) -> bool:
        study.fail_trial(opened, trial, reason)
        log.warning("trial %d failed: %s", trial.number, reason)
        return False

    def _values(self, returned: Any) -> list[float]:
        names = sorted(returned) if isinstance(returned, Mapping) else [type(returned).__name__]
        lacking = [name for name in self.objectives if name not in names]
        if lacking or not isinstance(returned, Mapping):
            raise ConfigError(
                f"jobs must return the objectives {', '.join(lacking)}, got {', '.join(names)}; set "
                "hydra.sweeper.objectives"
            )
        return [float(returned[name]) for name in self.objectives]

    def _log_results(self, facts: Mapping[str, Any]) -> None:
        failed = [trial["number"] for trial in facts["trials"] if trial["error"] is not None]
        if failed:
            log.warning("%d trials of the study failed: %s", len(failed), ", ".join(map(str, failed)))
        for trial in facts["trials"]:
            if trial["number"] in facts["front"]:
                values = _line(self.objectives, list(trial["values"].values()))
                log.info("Pareto front: #%d %s: %s", trial["number"], values, trial["command"])


def _line(objectives: Mapping[str, str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(objectives, values, strict=True))
