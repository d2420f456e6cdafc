"""A study of Optuna in its SQLite file: opened by one process at a time, taken up again, and told as JSON."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from clinlm.config.extras import imported
from clinlm.store.content import write_json

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

STUDY = "study.json"
"""What an optimising sweep leaves in its folder: its trials, also those of earlier runs of the command."""
_QUESTION, _OVERRIDES, _FOLDER, _ERROR = "question", "overrides", "folder", "error"


@contextmanager
def opened(folder: Path, name: str, objectives: Mapping[str, str], question: Mapping[str, Any]) -> Iterator[Study]:
    """Open the study `name`, new or begun, and keep other processes out meanwhile.

    Trials that a dead process left unfinished are marked failed, and their settings wait to be tried first.

    Args:
        folder: of the file `<name>.db`; made if it is missing.
        name: of the study.
        objectives: name -> maximize or minimize.
        question: what is asked, as JSON: a study keeps to one.

    Raises:
        ValueError: the study was begun with another question.
        RuntimeError: another process has it open.
    """
    optuna = imported("optuna", "optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{name}.lock", timeout=0):
            study = optuna.create_study(
                storage=place(folder, name), study_name=name, directions=[*objectives.values()], load_if_exists=True
            )
            _keep_to(study, question)
            _take_up(study)
            yield study
    except Timeout as error:
        raise RuntimeError(
            f"a study is swept by one process at a time; {name} is open in another; wait for it, or give this sweep "
            f"hydra.sweeper.study_name=NAME"
        ) from error


def place(folder: Path, name: str) -> str:
    """Return the address of a study as Optuna and its dashboard take it."""
    return f"sqlite:///{folder / f'{name}.db'}"


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that ran to their end, well or with an error; not those that a dead process left."""
    return [one for one in study.get_trials(deepcopy=False) if _state(one) == "COMPLETE" or _ERROR in one.user_attrs]


def begin(trial: Trial, overrides: list[str]) -> None:
    """Keep the overrides of a trial before it runs."""
    trial.set_user_attr(_OVERRIDES, overrides)


def complete(study: Study, trial: Trial, values: list[float], folder: str) -> None:
    """Tell what a trial reached, and where it left its files."""
    trial.set_user_attr(_FOLDER, folder)
    study.tell(trial, values)


def fail(study: Study, trial: Trial, reason: str) -> None:
    """Tell that a trial ended with an error."""
    trial.set_user_attr(_ERROR, reason)
    study.tell(trial, state=imported("optuna", "optuna").trial.TrialState.FAIL)


def facts(study: Study, objectives: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Return the study as JSON: its objectives, every finished trial, and the numbers of those on the Pareto front.

    A trial: number, state, values by objective, params, overrides, the command that makes it again, the folder of its
    run (None if it failed), error (None if it did not).
    """
    return {
        "study": study.study_name,
        "storage": place(folder, study.study_name),
        "objectives": dict(objectives),
        "front": sorted(one.number for one in study.best_trials),
        "trials": [_told(one, objectives) for one in finished(study)],
    }


def write(study: Study, objectives: Mapping[str, str], studies: Path, folder: Path) -> dict[str, Any]:
    """Write `facts` as `study.json` into the folder of the sweep, and return them."""
    content = facts(study, objectives, studies)
    write_json(folder / STUDY, content)
    return content


def _told(trial: FrozenTrial, objectives: Mapping[str, str]) -> dict[str, Any]:
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


def _keep_to(study: Study, question: Mapping[str, Any]) -> None:
    begun = study.user_attrs.get(_QUESTION)
    if begun is None:
        study.set_user_attr(_QUESTION, dict(question))
    elif begun != question:
        other = sorted(name for name in {*begun, *question} if begun.get(name) != question.get(name))
        raise ValueError(
            f"a study keeps to one question, or its trials cannot be compared; {study.study_name} was begun with other "
            f"{' and other '.join(other)}; give this sweep hydra.sweeper.study_name=OTHER, or type the first command"
        )


def _take_up(study: Study) -> None:
    state = imported("optuna", "optuna").trial.TrialState
    for left in study.get_trials(deepcopy=False, states=(state.RUNNING,)):
        study.tell(left.number, state=state.FAIL)
        study.enqueue_trial(left.params)
    done = len(finished(study))
    if done:
        log.info("study %s goes on after %d finished trials", study.study_name, done)
