"""Optuna as Hydra's sweeper: the next jobs are chosen from the results of the last, for several objectives at once."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from clinlm.config.remedies import explain
from clinlm.store.key import digest
from clinlm.sweepers import space, study

if TYPE_CHECKING:
    from optuna import Study, Trial

log = logging.getLogger(__name__)


def register() -> None:
    """Let `hydra/sweeper=optuna` find the class: Hydra looks for plugins in the package `hydra_plugins` only."""
    Plugins.instance().class_name_to_class["hydra_plugins.clinlm.Optuna"] = Optuna


@final
class Optuna(Sweeper):
    """Ask Optuna for trials, run them as jobs of any launcher, and tell it what they returned.

    The study lies in `folder`/`study_name`.db. A command typed again goes on with its study: finished trials count, and
    what was running when the process died is tried first. The sampler is made anew for every batch, from its seed and
    the number of finished trials, so that the same trials follow whether or not the sweep was stopped in between.

    Source    Akiba et al. 2019, "Optuna", arXiv:1907.10902; the default sampler is that of Ozaki et al. 2020,
              "Multiobjective tree-structured Parzen estimator for computationally expensive optimization", GECCO.
    Departs   trials run in batches: the next begin when all of a batch have ended.

    Args:
        sampler: settings of one of Optuna's samplers; `seed` is used as told above, and may be None.
        objectives: name in what a job returns -> maximize, minimize, or None to leave it out.
        n_trials: finished trials in all, at least 1.
        n_jobs: trials at a time; -1 for one a core.
        study_name: None names it after the settings, the search space and the objectives.
        folder: of the studies.
        max_failure_rate: share of `n_trials` that may fail in one run of the command, in [0, 1].
        params: what to vary, as `hydra.sweeper.params` of Hydra's own sweeper.
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
        self.objectives = {name: way for name, way in objectives.items() if way is not None}
        if not self.objectives or not set(self.objectives.values()) <= {"maximize", "minimize"}:
            raise ValueError(f"an objective is to maximize or to minimize, and there is one; got {dict(objectives)}")
        if n_trials < 1 or not (n_jobs >= 1 or n_jobs == -1) or not 0 <= max_failure_rate <= 1:
            raise ValueError(
                "n_trials is at least 1, n_jobs too (or -1: one a core), max_failure_rate within 0 and 1; got "
                f"{n_trials}, {n_jobs}, {max_failure_rate}"
            )
        self.sampler, self.n_trials, self.study_name, self.folder = sampler, n_trials, study_name, Path(folder)
        self.n_jobs = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        self.allowed = max_failure_rate * n_trials
        self.params = params or {}
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See `Sweeper.setup`."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run trials until the study has `n_trials`, and leave `study.json` in the folder of the sweep.

        Raises:
            ValueError: settings that make no study, or an objective that jobs do not return.
            RuntimeError: too many trials failed, or the study is open in another process.
        """
        assert self.config is not None and self.hydra_context is not None
        searched = space.read(self.params, arguments, self.hydra_context.config_loader)
        self.validate_batch_is_legal(searched.probes())
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        question = self._question(searched)
        name = self.study_name or f"study-{digest(question)}"
        with study.opened(self.folder, name, self.objectives, question) as opened:
            log.info("study %s, of %d trials", study.place(self.folder, name), self.n_trials)
            try:
                return self._run(opened, searched)
            finally:
                self._tell_all(study.write(opened, self.objectives, self.folder, folder))

    def _run(self, opened: Study, searched: space.Space) -> list[Sequence[JobReturn]]:
        assert self.launcher is not None
        returns: list[Sequence[JobReturn]] = []
        failed: list[int] = []
        while left := max(0, self.n_trials - len(study.finished(opened))):
            batch = self._ask(opened, searched, min(left, self.n_jobs))
            overrides = [searched.overrides(trial.params) for trial in batch]
            for trial, typed in zip(batch, overrides, strict=True):
                study.begin(trial, typed)
            returns.append(self.launcher.launch(overrides, initial_job_idx=batch[0].number))
            told = [
                (trial.number, self._tell(opened, trial, job)) for trial, job in zip(batch, returns[-1], strict=True)
            ]
            failed += [number for number, complete in told if not complete]
            if len(failed) > self.allowed:
                raise RuntimeError(
                    f"of {self.n_trials} trials {self.allowed:g} may fail; {len(failed)} did: "
                    f"{', '.join(map(str, failed))}; mend what they say above, or raise hydra.sweeper.max_failure_rate"
                )
        return returns

    def _question(self, searched: space.Space) -> dict[str, Any]:
        """What makes two trials comparable, as JSON: settings, search space and objectives."""
        assert self.config is not None
        settings = OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"])
        return {
            "settings": digest(OmegaConf.to_yaml(settings, resolve=False)),
            "search space": searched.described(),
            "objectives": self.objectives,
        }

    def _ask(self, opened: Study, searched: space.Space, count: int) -> list[Trial]:
        sampler = dict(self.sampler)
        if sampler.get("seed") is not None:
            sampler["seed"] = int(digest([sampler["seed"], len(study.finished(opened))])[:8], 16)
        opened.sampler = instantiate(sampler)
        batch = [opened.ask(dict(searched.distributions)) for _ in range(count)]
        # What waits to be tried again stands at the end of the study: numbers follow each other, as those of jobs do.
        assert [trial.number for trial in batch] == [batch[0].number + place for place in range(count)]
        return batch

    def _tell(self, opened: Study, trial: Trial, job: JobReturn) -> bool:
        """Tell the study what a job returned; returns whether the trial is complete."""
        try:
            returned = job.return_value
        except Exception as error:  # whatever a job may die of: the sweep goes on
            return self._fail(opened, trial, explain(error) or type(error).__name__)
        values = self._values(returned)
        if not all(map(math.isfinite, values)):
            line = _line(self.objectives, values)
            return self._fail(opened, trial, f"an objective is a finite number; the job returned {line}")
        assert job.hydra_cfg is not None
        study.complete(opened, trial, values, str(job.hydra_cfg.hydra.runtime.output_dir))
        log.info("trial %d of %d: %s", len(study.finished(opened)), self.n_trials, _line(self.objectives, values))
        return True

    def _fail(self, opened: Study, trial: Trial, reason: str) -> bool:
        study.fail(opened, trial, reason)
        log.warning("trial %d failed: %s", trial.number, reason)
        return False

    def _values(self, returned: Any) -> list[float]:
        names = sorted(returned) if isinstance(returned, Mapping) else [type(returned).__name__]
        lacking = [name for name in self.objectives if name not in names]
        if lacking or not isinstance(returned, Mapping):
            raise ValueError(
                f"an objective is a number that every job returns by name; jobs return {', '.join(names)}, and not "
                f"{', '.join(lacking)}; set hydra.sweeper.objectives"
            )
        return [float(returned[name]) for name in self.objectives]

    def _tell_all(self, told: Mapping[str, Any]) -> None:
        failed = [one["number"] for one in told["trials"] if one["error"] is not None]
        if failed:
            log.warning("%d trials of the study failed: %s", len(failed), ", ".join(map(str, failed)))
        for one in told["trials"]:
            if one["number"] in told["front"]:
                values = _line(self.objectives, list(one["values"].values()))
                log.info("Pareto front: #%d %s: %s", one["number"], values, one["command"])


def _line(objectives: Mapping[str, str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(objectives, values, strict=True))
