"""An Optuna study in an SQLite file: opened by one process at a time, resumed, and written as JSON."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from clinlm.config.errors import ClinlmError, ConfigError, DataError
from clinlm.config.extras import imported
from clinlm.pipeline.run_record import write_run_file
from clinlm.store.locks import acquire

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

STUDY = "study.json"
"""File of an optimising sweep with its trials, also those of earlier runs of the command."""
_PROBLEM, _OVERRIDES, _FOLDER, _ERROR = "question", "overrides", "folder", "error"


@contextmanager
def open_study(folder: Path, name: str, objectives: Mapping[str, str], problem: Mapping[str, Any]) -> Iterator[Study]:
    """Open the study `name`, new or existing, and lock it against other processes.

    Trials that a killed process left unfinished are marked failed, and their settings are queued as the next.

    Args:
        folder: of the file `<name>.db`; made if it is missing.
        objectives: name -> maximize or minimize.
        problem: what makes trials comparable, as JSON; a study has one.

    Raises:
        ConfigError: the study has another problem, or another process has it open.
        DataError: its file is damaged, or no study of Optuna.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f".{name}.lock")
    try:
        acquire(lock, 0)
    except Timeout as error:
        raise ConfigError(
            f"a study must be open in one process only, but {name} is open in another; wait for it, or set "
            "hydra.sweeper.study_name=NAME"
        ) from error
    try:
        yield _opened(folder, name, objectives, problem)
    finally:
        lock.release()


def _opened(folder: Path, name: str, objectives: Mapping[str, str], problem: Mapping[str, Any]) -> Study:
    """Return a study, new or existing, with what it was asked for checked and all its trials read."""
    optuna = imported("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / f"{name}.db"
    there = path.exists()
    try:
        study: Study = optuna.create_study(
            storage=storage_url(folder, name), study_name=name, directions=[*objectives.values()], load_if_exists=True
        )
        _check_problem(study, problem)
        _resume(study)
    except Exception as error:  # of Optuna and SQLAlchemy, which have no common kind
        if isinstance(error, ClinlmError) or not there:
            raise
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path} must be a study that Optuna can read, and is damaged ({type(error).__name__}: {reason}); move it "
            "away to begin it anew, where trials whose stages are stored take seconds, or set "
            "hydra.sweeper.study_name=NAME"
        ) from error
    return study


def storage_url(folder: Path, name: str) -> str:
    """Return the storage URL of a study for Optuna and its dashboard."""
    return f"sqlite:///{folder / f'{name}.db'}"


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Return the trials that ended, complete or with an error; not those that a killed process left."""
    return [
        trial for trial in study.get_trials(deepcopy=False) if _state(trial) == "COMPLETE" or _ERROR in trial.user_attrs
    ]


def start_trial(trial: Trial, overrides: list[str]) -> None:
    """Store the overrides of a trial before it runs."""
    trial.set_user_attr(_OVERRIDES, overrides)


def complete_trial(study: Study, trial: Trial, values: list[float], folder: str) -> None:
    """Store the objectives of a trial, and the folder of its run."""
    trial.set_user_attr(_FOLDER, folder)
    study.tell(trial, values)


def fail_trial(study: Study, trial: Trial, reason: str) -> None:
    """Mark a trial as failed."""
    trial.set_user_attr(_ERROR, reason)
    study.tell(trial, state=imported("optuna", "optuna").trial.TrialState.FAIL)


def study_facts(study: Study, objectives: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Return the study as JSON: its objectives, every finished trial, and the numbers of those on the Pareto front.

    A trial: number, state, values by objective, params, overrides, the command that repeats it, the folder of its run
    (None if it failed), error (None if it did not).
    """
    return {
        "study": study.study_name,
        "storage": storage_url(folder, study.study_name),
        "objectives": dict(objectives),
        "front": sorted(trial.number for trial in study.best_trials),
        "trials": [_trial_facts(trial, objectives) for trial in finished_trials(study)],
    }


def write_study(study: Study, objectives: Mapping[str, str], studies: Path, folder: Path) -> dict[str, Any]:
    """Write `study_facts` as `study.json` into the folder of the sweep, and return them."""
    content = study_facts(study, objectives, studies)
    write_run_file(folder / STUDY, content)
    return content


def _trial_facts(trial: FrozenTrial, objectives: Mapping[str, str]) -> dict[str, Any]:
    overrides = trial.user_attrs.get(_OVERRIDES, [])
    return {
        "number": trial.number,
        "state": _state(trial),
        "values": dict(zip(objectives, trial.values, strict=True)) if _state(trial) == "COMPLETE" else None,
        "params": trial.params,
        "overrides": overrides,
        "command": shlex.join(["clinlm", *overrides]),
        "folder": trial.user_attrs.get(_FOLDER),
        "error": trial.user_attrs.get(_ERROR),
    }


def _state(trial: FrozenTrial) -> str:
    return str(trial.state.name)


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


def _resume(study: Study) -> None:
    state = imported("optuna", "optuna").trial.TrialState
    for left in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        study.tell(left.number, state=state.FAIL)
        study.enqueue_trial(left.params)
    done = len(finished_trials(study))
    if done:
        log.info("study %s continues after %d finished trials", study.study_name, done)
