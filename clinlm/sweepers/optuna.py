"""Optuna as a sweeper of Hydra: chooses the next jobs by the results of the last, for several objectives at once."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from clinlm.config.errors import ConfigError
from clinlm.config.splits import refuse_resplits
from clinlm.store.key import digest
from clinlm.sweepers import space
from clinlm.sweepers.base import JobSweeper
from clinlm.sweepers.product import compose_jobs
from clinlm.sweepers.seeded_sampler import SeededSampler
from clinlm.sweepers.shared_study import open_study, write_study
from clinlm.sweepers.study_storage import storage_place
from clinlm.sweepers.trial_judge import make_pruner
from clinlm.sweepers.trial_runner import TrialRunner, objectives_line

log = logging.getLogger(__name__)


def register_optuna() -> None:
    """Register `Optuna` for `hydra/sweeper=optuna`: Hydra looks for plugins in the package `hydra_plugins` only."""
    Plugins.instance().class_name_to_class["hydra_plugins.clinlm.Optuna"] = Optuna


@final
class Optuna(JobSweeper):
    """A sweeper that runs the trials of an Optuna study as jobs of any launcher.

    The study is in `folder`/`study_name`.db, or in a database. `n_jobs` trials run at a time, each replaced as soon as
    it ends, and the same command in other shells, or on other machines with the same database, adds as many: no trial
    runs twice, and all end with the same study. Trials of a process that was killed are tried first. The sampler is
    made anew for every trial, from its seed and the number of the trial, so that where one runs at a time the same
    trials follow whether or not the sweep was interrupted.

    Source    Akiba et al. 2019, "Optuna", arXiv:1907.10902; the default sampler is that of Ozaki et al. 2020,
              "Multiobjective tree-structured Parzen estimator for computationally expensive optimization", GECCO.

    Args:
        sampler: settings of one of Optuna's samplers; its `seed` may be None.
        objectives: name of a value that jobs return -> maximize, minimize, or None to leave it out.
        n_trials: total of finished trials, at least 1.
        n_jobs: trials at a time of this process; -1 for one per core. More than one needs a launcher that starts
            processes.
        study_name: None for a name made from the settings, the search space and the objectives.
        folder: of the studies.
        storage: name of the environment variable with the URL of a database; None for a file in `folder`.
        pruner: name of one of Optuna's pruners, or its settings; None for none. It stops a trial whose epochs are worse
            than those of others, which needs quality as the only objective.
        pruner_stage: whose epochs it judges, by the monitored metric; None for the last stage that trains.
        heartbeat_s: seconds between two signs of life; trials without one for twice as long are taken up by others.
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
        storage: str | None = None,
        pruner: str | Mapping[str, Any] | None = None,
        pruner_stage: str | None = None,
        heartbeat_s: int = 60,
        max_failure_rate: float = 0.2,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.objectives = {name: direction for name, direction in objectives.items() if direction is not None}
        if not self.objectives or not set(self.objectives.values()) <= {"maximize", "minimize"}:
            raise ConfigError(f"objectives must be one or more of maximize or minimize, got {dict(objectives)}")
        if n_trials < 1 or not (n_jobs >= 1 or n_jobs == -1) or not 0 <= max_failure_rate <= 1 or heartbeat_s < 1:
            raise ConfigError(
                "n_trials and heartbeat_s must be at least 1, n_jobs at least 1 or -1, max_failure_rate in [0, 1], got "
                f"{n_trials}, {heartbeat_s}, {n_jobs}, {max_failure_rate}"
            )
        if pruner is not None and self.objectives != {"quality": "maximize"}:
            others = " ".join(f"hydra.sweeper.objectives.{name}=null" for name in objectives if name != "quality")
            raise ConfigError(
                "a pruner stops trials by their quality, so quality must be the only objective (a small model of lower "
                f"quality may be worth having), got {', '.join(self.objectives)}; set {others}, or "
                "hydra.sweeper.pruner=null"
            )
        self.sampler, self.n_trials, self.study_name, self.folder = sampler, n_trials, study_name, Path(folder)
        self.n_jobs = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        self.storage, self.pruner, self.pruner_stage, self.heartbeat_s = storage, pruner, pruner_stage, heartbeat_s
        self.allowed = max_failure_rate * n_trials
        self.params = params or {}

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run trials until the study has `n_trials`, and write `study.json` into the folder of the sweep.

        Raises:
            ConfigError: invalid settings, or an objective that jobs do not return.
            DataError: the study cannot be read or written.
            ModelError: too many trials failed.
        """
        assert self.config is not None and self.hydra_context is not None and self.launcher is not None
        if self.n_jobs > 1 and str(self.config.hydra.launcher._target_).endswith(".BasicLauncher"):
            raise ConfigError(
                f"{self.n_jobs} trials at a time need a launcher that starts processes, got hydra/launcher=basic; add "
                f"hydra/launcher=joblib hydra.launcher.n_jobs={self.n_jobs}, or type the command in "
                f"{self.n_jobs} shells with hydra.sweeper.n_jobs=1"
            )
        searched = space.read_space(self.params, arguments, self.hydra_context.config_loader)
        composed = compose_jobs(self.hydra_context.config_loader, self.config, searched.probes())
        refuse_resplits([config for _, config in composed])
        self._refuse_missing_latency([config for _, config in composed])
        folder = self.open_folder()
        problem = self._problem(searched)
        name = self.study_name or f"study-{digest(problem)}"
        pruner = None if self.pruner is None else make_pruner(self.pruner)
        place = storage_place(self.folder, name, self.storage)
        with open_study(self.folder, name, self.objectives, problem, self.storage, pruner, self.heartbeat_s) as opened:
            log.info("study %s of %s, of %d trials", name, place, self.n_trials)
            opened.study.sampler = SeededSampler(self.sampler, opened)
            typed = [] if pruner is None else [f"hydra.sweeper.study_name={name}"]  # for `trial_judge`
            runner = TrialRunner(opened, searched, self.launcher, self.objectives, self.n_trials, self.allowed, typed)
            try:
                return [runner.run(self.n_jobs)]
            finally:
                self._log_results(write_study(opened, self.objectives, place, folder))

    def _refuse_missing_latency(self, configs: Sequence[DictConfig]) -> None:
        """Raise where jobs may leave out a latency that the study optimises: every such trial would fail."""
        if "latency_ms" in self.objectives and any(
            OmegaConf.select(config, "report.busy") == "refuse" for config in configs
        ):
            raise ConfigError(
                "a study of latency_ms needs every latency, got report.busy=refuse; set report.busy=mark, or "
                "hydra.sweeper.objectives.latency_ms=null"
            )

    def _problem(self, searched: space.Space) -> dict[str, Any]:
        """Return what makes trials comparable, as JSON: settings, search space and objectives."""
        assert self.config is not None
        settings = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        return {
            "settings": digest(OmegaConf.to_yaml(settings, resolve=False)),
            "search space": searched.as_json(),
            "objectives": self.objectives,
        }

    def _log_results(self, facts: Mapping[str, Any]) -> None:
        failed = [trial["number"] for trial in facts["trials"] if trial["error"] is not None]
        if failed:
            log.warning("%d trials of the study failed: %s", len(failed), ", ".join(map(str, failed)))
        for trial in facts["trials"]:
            if trial["number"] in facts["front"]:
                values = objectives_line(self.objectives, list(trial["values"].values()))
                log.info("Pareto front: #%d %s: %s", trial["number"], values, trial["command"])
