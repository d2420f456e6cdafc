"""Runs the trials of a study as jobs of a launcher, several at a time, until the study has enough of them."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, final

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

from clinlm.config.errors import ConfigError, ModelError
from clinlm.config.remedies import explain
from clinlm.sweepers.joblib_workers import share_pool
from clinlm.sweepers.shared_study import SharedStudy
from clinlm.sweepers.space import Space
from clinlm.tracking.epoch_judge import TrialPruned
from clinlm.tracking.planned_jobs import PlannedJobs

if TYPE_CHECKING:
    from optuna import Trial

log = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
"""Seconds between two looks at trials that others run."""


@final
class TrialRunner:
    """Runs trials, each as a job of its own.

    Args:
        study: opened.
        searched: the search space.
        launcher: of the jobs; with several slots it is called by several threads.
        objectives: name -> direction.
        n_trials: total of finished trials, of all processes.
        allowed: trials of this process that may fail.
        typed: overrides of every job that are no part of its trial.
    """

    def __init__(
        self,
        study: SharedStudy,
        searched: Space,
        launcher: Launcher,
        objectives: Mapping[str, str],
        n_trials: int,
        allowed: float,
        typed: Sequence[str] = (),
    ) -> None:
        self._study, self._searched, self._launcher = study, searched, launcher
        self._objectives, self._most, self._allowed, self._typed = objectives, n_trials, allowed, typed
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._returns: list[JobReturn] = []
        self._failed: list[int] = []
        self._error: BaseException | None = None

    def run(self, slots: int) -> list[JobReturn]:
        """Run trials in so many slots until the study has enough, and return what the jobs returned.

        After an error no trial begins, and those that run are waited for; after Ctrl-C they are not.

        Raises:
            ModelError: too many trials failed.
            ConfigError: jobs do not return an objective.
        """
        if slots == 1:  # in the main thread, as Hydra's own launcher needs it
            self._work()
            return self._returns
        share_pool()
        threads = [threading.Thread(target=self._slot, daemon=True, name=f"trials {n}") for n in range(slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # so that Ctrl-C is heard
        if self._error is not None:
            raise self._error
        return self._returns

    def _slot(self) -> None:
        try:
            self._work()
        except BaseException as error:  # raised again by `run`
            self._error = self._error or error
            self._stopped.set()

    def _work(self) -> None:
        while (trial := self._next()) is not None:
            overrides = self._searched.overrides(trial.params)
            with self._lock:
                left = self._most - len(self._study.finished())
                PlannedJobs.add([overrides], first=trial.number, total=len(PlannedJobs.jobs) + left)
            self._study.start(trial, overrides)
            try:
                (job,) = self._launcher.launch([[*overrides, *self._typed]], initial_job_idx=trial.number)
            except Exception as error:  # its process was killed, or could not be started; the sweep continues
                self._fail(trial, error)
            else:
                self._returns.append(job)
                self._end(trial, job)

    def _next(self) -> Trial | None:
        """Return the next trial; wait while others may still leave one; None where the study has enough."""
        told = False
        while not self._stopped.is_set() and len(self._study.finished()) < self._most:
            self._study.take_up()
            with self._lock:
                trial = self._study.ask(self._searched.distributions, self._most)
            if trial is not None:
                return trial
            if not told and (others := self._study.run_by_others()):
                told = True
                log.info("waiting for %d trials that other processes run", others)
            self._stopped.wait(_LOOK_S)
        return None

    def _end(self, trial: Trial, job: JobReturn) -> None:
        """Store what a job returned."""
        try:
            returned = job.return_value
        except TrialPruned as pruned:
            self._study.prune(trial)
            log.info("%s", pruned)
            return
        except Exception as error:  # a job may fail for any reason; the sweep continues
            self._fail(trial, error)
            return
        values = self._values(returned)
        if not all(map(math.isfinite, values)):
            line = objectives_line(self._objectives, values)
            self._fail(trial, ModelError(f"objectives must be finite, got {line}"))
            return
        assert job.hydra_cfg is not None
        self._study.complete(trial, values, str(job.hydra_cfg.hydra.runtime.output_dir))
        number = len(self._study.finished())
        log.info("trial %d of %d: %s", number, self._most, objectives_line(self._objectives, values))

    def _fail(self, trial: Trial, error: Exception) -> None:
        reason = explain(error) or type(error).__name__
        self._study.fail(trial, reason)
        log.warning("trial %d failed: %s", trial.number, reason)
        with self._lock:
            self._failed.append(trial.number)
        if len(self._failed) > self._allowed:
            raise ModelError(
                f"at most {self._allowed:g} of {self._most} trials may fail, got {len(self._failed)}: "
                f"{', '.join(map(str, self._failed))}; see their errors above, or raise hydra.sweeper.max_failure_rate"
            )

    def _values(self, returned: Any) -> list[float]:
        names = sorted(returned) if isinstance(returned, Mapping) else [type(returned).__name__]
        lacking = [name for name in self._objectives if name not in names]
        if lacking or not isinstance(returned, Mapping):
            raise ConfigError(
                f"jobs must return the objectives {', '.join(lacking)}, got {', '.join(names)}; set "
                "hydra.sweeper.objectives"
            )
        return [float(returned[name]) for name in self._objectives]


def objectives_line(objectives: Mapping[str, str], values: Sequence[float]) -> str:
    """Return names and values of objectives, for a log."""
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(objectives, values, strict=True))
