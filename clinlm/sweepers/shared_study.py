"""An Optuna study that several processes work on: no trial runs twice, those of dead processes are taken up."""

from __future__ import annotations

import logging
import secrets
import shlex
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from filelock import FileLock

from clinlm.config.errors import ClinlmError, ConfigError, DataError
from clinlm.config.extras import imported
from clinlm.pipeline.run_record import write_run_file
from clinlm.store.locks import acquire, if_free, only_process
from clinlm.sweepers.study_storage import ERROR, OVERRIDES, open_storage, requeue, storage_place

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

STUDY = "study.json"
"""File of an optimising sweep with its trials, also those of earlier runs of the command and of other processes."""
_PROBLEM, _FOLDER, _OWNER = "question", "folder", "owner"


@final
class SharedStudy:
    """A study, as one of the processes that work on it sees it.

    A trial counts if it ended (complete, pruned, or with an error), runs or waits. One whose process died does not: it
    is failed in Optuna's words, and its settings wait to be tried again, unless a process died `STARTS` times of them:
    then they are one more trial, which failed.

    Args:
        study: of Optuna.
        folder: in which processes of this machine hold a lock each, for as long as they live.
        token: name of this process, with its machine.
    """

    def __init__(self, study: Study, folder: Path, token: tuple[str, str], heartbeat_s: float) -> None:
        self.study, self._folder, self._token = study, folder, token
        self._storage: Any = study._storage
        self._own: dict[int, Trial] = {}
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(heartbeat_s,), daemon=True, name="heartbeat")
        self._heart.start()

    def trials(self) -> list[FrozenTrial]:
        """Return those that count, in order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]

    def finished(self) -> list[FrozenTrial]:
        """Return those that ended."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def ask(self, distributions: Mapping[str, BaseDistribution], most: int | None = None) -> Trial | None:
        """Return a trial for this process to run: one that waits, or a new one.

        None where `most` trials count already. Two processes may both see room for the last one: of what both then
        ask for, the trials with the smallest numbers are kept, on which they agree.
        """
        counted = self.trials()
        waits = any(_state(trial) == "WAITING" for trial in counted)
        if most is not None and len(counted) >= most and not waits:
            return None
        trial = self.study.ask(dict(distributions))
        if most is not None and sum(other.number < trial.number for other in self.trials()) >= most:
            self.study.tell(trial, state=imported("optuna", "optuna").trial.TrialState.FAIL)
            return None
        self._storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(_OWNER, [*self._token])
        self._own[trial.number] = trial
        return trial

    def take_up(self) -> None:
        """Let the trials of dead processes wait to be tried again.

        Dead is a process of this machine whose lock is free, and any that gave no sign of life for two heartbeats.
        """
        imported("optuna", "optuna").storages.fail_stale_trials(self.study)
        alive: dict[str, bool] = {}
        for trial in self.trials():
            host, name = trial.user_attrs.get(_OWNER, ("", ""))
            if _state(trial) != "RUNNING" or host != self._token[0] or name == self._token[1]:
                continue
            if name not in alive:
                alive[name] = self._lives(name)
            if not alive[name]:
                self._lose(trial)

    def run_by_others(self) -> int:
        """Return how many trials other processes run."""
        return sum(_state(trial) == "RUNNING" and trial.number not in self._own for trial in self.trials())

    def start(self, trial: Trial, overrides: list[str]) -> None:
        """Store the overrides of a trial before it runs."""
        trial.set_user_attr(OVERRIDES, overrides)

    def complete(self, trial: Trial, values: list[float], folder: str) -> None:
        """Store the objectives of a trial, and the folder of its run."""
        self._tell(trial, {_FOLDER: folder}, values)

    def prune(self, trial: Trial) -> None:
        """Mark a trial as stopped before its end, because others were better."""
        self._tell(trial, {}, state=imported("optuna", "optuna").trial.TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Mark a trial as failed."""
        self._tell(trial, {ERROR: reason}, state=imported("optuna", "optuna").trial.TrialState.FAIL)

    def close(self) -> None:
        """Give back what this process has not finished; others take it up at once."""
        self._ended.set()
        self._heart.join()
        for trial in [*self._own.values()]:
            self._lose(self._storage.get_trial(trial._trial_id), died=False)

    def _tell(
        self, trial: Trial, facts: Mapping[str, str], values: list[float] | None = None, state: Any = None
    ) -> None:
        try:
            for name, fact in facts.items():
                trial.set_user_attr(name, fact)
            self.study.tell(trial, values, state)
        except imported("optuna", "optuna").exceptions.UpdateFinishedTrialError:
            log.warning(
                "trial %d gave no sign of life for too long, so that another process took it up: what it came to here "
                "does not count",
                trial.number,
            )
        self._own.pop(trial.number, None)

    def _lose(self, trial: FrozenTrial, died: bool = True) -> None:
        optuna = imported("optuna", "optuna")
        try:
            self._storage.set_trial_state_values(trial._trial_id, state=optuna.trial.TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:  # another process was faster
            return
        requeue(self.study, trial, died)

    def _lives(self, name: str) -> bool:
        """Return whether a process of this machine lives, as far as its lock tells; remove that of a dead one."""
        path = self._folder / name
        lock, holder = (path.with_name(f".{name}.{end}") for end in ("lock", "holder"))
        if not lock.exists():  # of another folder, or in a container of its own: its heartbeat tells
            return True
        with if_free(path) as free:
            if free:
                lock.unlink(missing_ok=True)
                holder.unlink(missing_ok=True)
            return not free

    def _beat(self, every_s: float) -> None:
        """Give a sign of life for every trial of this process, until it is closed."""
        while not self._ended.wait(every_s):
            for trial in [*self._own.values()]:
                try:
                    self._storage.record_heartbeat(trial._trial_id)
                except Exception as error:  # a server that is away for a minute
                    log.warning("no sign of life of trial %d could be stored: %s", trial.number, type(error).__name__)


@contextmanager
def open_study(
    folder: Path,
    name: str,
    objectives: Mapping[str, str],
    problem: Mapping[str, Any],
    storage: str | None = None,
    pruner: Any = None,
    heartbeat_s: int = 60,
) -> Iterator[SharedStudy]:
    """Open the study `name`, new or existing, which other processes may have open as well.

    Args:
        folder: of the file `<name>.db`, where `storage` is None, and of the locks of processes; made if missing.
        objectives: name -> maximize or minimize.
        problem: what makes trials comparable, as JSON; a study has one.
        storage: name of the environment variable with the URL of a database; see `open_storage`.
        pruner: of Optuna; None stops no trial.
        heartbeat_s: seconds between two signs of life.

    Raises:
        ConfigError: the study has another problem, or `storage` is no such name.
        DataError: its file is damaged, or no study of Optuna; or the server does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = (socket.gethostname(), f"{name}.{secrets.token_hex(4)}")
    with only_process(folder / token[1]):
        lock = FileLock(folder / f".{name}.lock")
        acquire(lock)  # two processes that make the same tables fail
        try:
            study = _opened(folder, name, objectives, problem, storage, pruner, heartbeat_s)
            shared = SharedStudy(study, folder, token, heartbeat_s)
            shared.take_up()
        finally:
            lock.release()
        if done := len(shared.finished()):
            log.info("study %s continues after %d finished trials", name, done)
        try:
            yield shared
        except _storage_errors() as error:
            raise _unreadable(storage_place(folder, name, storage), storage, error) from error
        finally:
            with suppress(*_storage_errors()):  # then the heartbeat tells others
                shared.close()


def _opened(
    folder: Path,
    name: str,
    objectives: Mapping[str, str],
    problem: Mapping[str, Any],
    storage: str | None,
    pruner: Any,
    heartbeat_s: int,
) -> Study:
    """Return a study, new or existing, with what it was asked for checked and all its trials read."""
    optuna = imported("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", message=".*[Hh]eartbeat|.*fail_stale_trials", module="optuna|clinlm")
    there = storage is not None or (folder / f"{name}.db").exists()
    for attempt in range(3):
        try:
            study: Study = optuna.create_study(
                storage=open_storage(folder, name, storage, heartbeat_s),
                pruner=pruner or optuna.pruners.NopPruner(),
                study_name=name,
                directions=[*objectives.values()],
                load_if_exists=True,
            )
            _check_problem(study, problem)
            study.get_trials(deepcopy=False)
            return study
        except Exception as error:  # of Optuna and SQLAlchemy, which have no common kind
            if isinstance(error, ClinlmError) or not there:
                raise
            if storage is not None and attempt < 2:  # a process on another machine makes the same tables
                time.sleep(1)
                continue
            raise _unreadable(storage_place(folder, name, storage), storage, error) from error
    raise AssertionError("unreachable")


def _storage_errors() -> tuple[type[Exception], ...]:
    storage = imported("optuna", "optuna").exceptions.StorageInternalError
    return storage, imported("sqlalchemy", "optuna").exc.SQLAlchemyError


def _unreadable(place: str, storage: str | None, error: Exception) -> DataError:
    reason = f"({type(error).__name__}: {str(error).partition(chr(10))[0]})"
    if storage is not None:
        return DataError(
            f"the database of studies must answer, {place} does not {reason}; check that it can be reached, and the "
            f"URL in {storage}"
        )
    return DataError(
        f"{place.removeprefix('sqlite:///')} must be a study that Optuna can read, and is damaged {reason}; move it "
        "away to begin it anew, where trials whose stages are stored take seconds, or set "
        "hydra.sweeper.study_name=NAME"
    )


def write_study(study: SharedStudy, objectives: Mapping[str, str], place: str, folder: Path) -> dict[str, Any]:
    """Write the study as `study.json` into the folder of the sweep, and return that.

    It has the objectives, every finished trial, and the numbers of those on the Pareto front. A trial: number, state,
    values by objective (None unless complete), params, overrides, the command that repeats it, the folder of its run
    (None unless complete), error (None if it did not fail), and the values that the pruner saw, by epoch.

    Args:
        place: of the storage; see `storage_place`.
    """
    content = {
        "study": study.study.study_name,
        "storage": place,
        "objectives": dict(objectives),
        "front": sorted(trial.number for trial in study.study.best_trials),
        "trials": [_trial_facts(trial, objectives) for trial in study.finished()],
    }
    write_run_file(folder / STUDY, content)
    return content


def _trial_facts(trial: FrozenTrial, objectives: Mapping[str, str]) -> dict[str, Any]:
    overrides = trial.user_attrs.get(OVERRIDES, [])
    return {
        "number": trial.number,
        "state": _state(trial),
        "values": dict(zip(objectives, trial.values, strict=True)) if _state(trial) == "COMPLETE" else None,
        "params": trial.params,
        "overrides": overrides,
        "command": shlex.join(["clinlm", *overrides]),
        "folder": trial.user_attrs.get(_FOLDER),
        "error": trial.user_attrs.get(ERROR),
        "epochs": {str(epoch): value for epoch, value in trial.intermediate_values.items()},
    }


def _state(trial: FrozenTrial) -> str:
    return str(trial.state.name)


def _counts(trial: FrozenTrial) -> bool:
    """Return whether a trial ended, runs or waits; not one that a process left, or that was one too many."""
    return _state(trial) != "FAIL" or ERROR in trial.user_attrs


def _check_problem(study: Study, problem: Mapping[str, Any]) -> None:
    first = study.user_attrs.get(_PROBLEM)
    if first is None:
        study.set_user_attr(_PROBLEM, dict(problem))
    elif first != problem:
        other = sorted(name for name in {*first, *problem} if first.get(name) != problem.get(name))
        raise ConfigError(
            f"trials of a study must be comparable, but {study.study_name} was started with other "
            f"{' and other '.join(other)}; set hydra.sweeper.study_name=OTHER, or run the first command"
        )
