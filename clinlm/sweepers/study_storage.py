"""Where Optuna keeps a study: a SQLite file for the processes of one machine, a database for those of several."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinlm.config.errors import ConfigError, MissingExtraError
from clinlm.config.extras import imported

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

OVERRIDES: Final = "overrides"
ERROR: Final = "error"
"""Attributes of a trial: what its job was started with, and why it failed."""

STARTS: Final = 3
"""Deaths of its process after which a trial is not tried again: what it computes may be what ends it."""

_DEATHS: Final = "deaths"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WAIT_S = 60
"""Seconds that a process waits for another to write the file."""


def open_storage(folder: Path, name: str, variable: str | None, heartbeat_s: int | None = None) -> Any:
    """Return Optuna's storage of the study `name`.

    Args:
        folder: of the file `<name>.db`, where `variable` is None.
        variable: name of the environment variable with the URL of a database (postgresql://USER:PASSWORD@HOST/NAME), so
            that no setting, record or log has a password.
        heartbeat_s: seconds between two signs of life of running trials; None for a process that runs none.

    Raises:
        ConfigError: `variable` is no name, is not set, or holds no URL that SQLAlchemy knows.
        MissingExtraError: the driver of the database is not installed.
    """
    optuna = imported("optuna", "optuna")
    url = imported("sqlalchemy", "optuna").engine.make_url(_address(folder, name, variable))
    if url.drivername in ("postgresql", "postgres"):  # SQLAlchemy's own choice is psycopg2
        url = url.set(drivername="postgresql+psycopg")
    file = url.drivername == "sqlite"
    arguments: dict[str, Any] = {"connect_args": {"timeout": _WAIT_S}} if file else {"pool_pre_ping": True}
    try:
        return optuna.storages.RDBStorage(
            url.render_as_string(hide_password=False),
            arguments,
            heartbeat_interval=heartbeat_s,
            heartbeat_stale_trial_callback=requeue if heartbeat_s else None,
        )
    except ImportError as error:
        raise MissingExtraError(
            f"studies on {url.drivername.partition('+')[0]} need its driver, which is not installed; for "
            "PostgreSQL, run pip install 'clinlm[postgres]'"
        ) from error


def storage_place(folder: Path, name: str, variable: str | None) -> str:
    """Return the URL of a study for Optuna and its dashboard; of a database the name of the variable that has it."""
    return f"${variable}" if variable is not None else _address(folder, name, None)


def requeue(study: Study, trial: FrozenTrial, died: bool = True) -> None:
    """Let the settings of a trial that its process left wait to be tried again; after `STARTS` deaths they failed.

    Args:
        died: whether the process died, and did not give the trial back.
    """
    deaths = trial.user_attrs.get(_DEATHS, 0) + died
    if deaths < STARTS:
        study.enqueue_trial(trial.params, user_attrs={_DEATHS: deaths})
        log.warning("trial %d was left by a process that ended; its settings are tried again", trial.number)
        return
    optuna = imported("optuna", "optuna")
    reason = (
        f"its process died {deaths} times, the last of them in trial {trial.number}; has the machine enough memory?"
    )
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.FAIL,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={OVERRIDES: trial.user_attrs.get(OVERRIDES, []), ERROR: reason},
        )
    )
    log.warning("the settings of trial %d are not tried again: %s", trial.number, reason)


def _address(folder: Path, name: str, variable: str | None) -> str:
    if variable is None:
        return f"sqlite:///{folder / f'{name}.db'}"
    if not _NAME.fullmatch(variable):
        raise ConfigError(
            "hydra.sweeper.storage must be the name of an environment variable, got something else, which is not "
            "shown; if it had a password, change it, and set hydra.sweeper.storage=NAME after export "
            "NAME=postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    address = os.environ.get(variable, "")
    if "://" not in address:
        raise ConfigError(
            f"the environment variable {variable} must hold the URL of the database of studies, it is "
            f"{'no URL' if address else 'not set'}; export {variable}=postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return address
