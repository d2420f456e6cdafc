"""Files answered by the workers of a Ray cluster, a task each; what is lost with a worker, Ray starts again."""

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.extras import imported
from clinlm.config.private_caches import private_folder
from clinlm.predict.settings import StreamSettings
from clinlm.predict.shard_run import Outcome, ShardJob, run_job

S = TypeVar("S", bound=StreamSettings)

LOCAL = "local"
_RETRIES = 3
"""Times that a task is started again whose worker, or whose machine, was lost."""
_WAITING = 1_000
"""Tasks that Ray is given at once: waiting for one takes a time that grows with them."""
_STORE_BYTES = 80 * 2**20
"""Of Ray's object store on this machine, little more than its least: tasks take and return a few hundred bytes."""
_LONGEST = 40
"""Characters of the path of Ray's files on this machine: the sockets in it have longer ones, and 107 at most."""
_REACH_S = 5.0


def answered_by_ray(jobs: Sequence[ShardJob[S]], address: str, workers: int) -> Iterator[tuple[ShardJob[S], Outcome]]:
    """Yield jobs with their outcomes, as they end. A worker has one core, and one process.

    Args:
        address: `LOCAL` starts Ray on this machine, and ends it; "auto" or HOST:PORT joins a cluster.
        workers: processes of a Ray on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: there is no cluster at the address.
    """
    ray = load_ray(address)
    with _connected(ray, address, workers):
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)(run_job)
        left, waiting = iter(jobs), dict[Any, ShardJob[S]]()
        while True:
            for job in left:
                waiting[task.remote(job)] = job
                if len(waiting) == _WAITING:
                    break
            if not waiting:
                return
            (done,), _ = ray.wait([*waiting], num_returns=1)
            job = waiting.pop(done)
            yield job, _outcome(ray, done, job)


def load_ray(address: str) -> Any:
    """Return Ray, told how to start on this machine: it reads that when it is imported.

    A Ray on this machine listens on all its addresses. Who connects must know a token that only its own processes get;
    Ray's own default, since 2.60, is one in the home of the user. Workers would have a niceness of 15, by which other
    programs of the machine leave them next to nothing.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if address == LOCAL and "ray" not in sys.modules:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_worker_niceness="0")
    return imported("ray", "ray")


def _outcome(ray: Any, done: Any, job: ShardJob[S]) -> Outcome:
    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if "failed to import on the worker" in str(error) or "No module named 'clinlm" in str(error):
            raise ConfigError(
                "every worker must have clinlm and what the model needs, got one that cannot import it; install it on "
                "every machine of the cluster"
            ) from error
        raise
    except ray.exceptions.RayError as error:
        return DataError(
            f"its worker must live until the file is answered, got {1 + _RETRIES} that did not "
            f"({type(error).__name__}), perhaps for lack of memory; make the file smaller, or give workers more memory"
        )
    return outcome


@contextmanager
def _connected(ray: Any, address: str, workers: int) -> Iterator[None]:
    """Connect to a cluster, or start one, which ends with the connection, and of which no file is left."""
    if address != LOCAL:
        _require_listener(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise _unreachable(address, str(error).partition("\n")[0]) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    folder = private_folder()
    if len(folder) > _LONGEST and sys.platform != "win32":
        raise ConfigError(
            f"the folder of temporary files must have a short name, for the sockets of Ray in it, got {folder}; set "
            "TMPDIR to a folder such as /tmp"
        )
    told = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error", "_temp_dir": folder}
    try:
        try:
            ray.init("local", num_cpus=workers, object_store_memory=_STORE_BYTES, **told)
        except Exception as error:  # of no narrower type: it gives its processes 30 s
            raise ConfigError(
                f"Ray must start on this machine, got {str(error).partition(chr(10))[0]!r}; run the same command again "
                "when the machine is less busy, or without on=ray"
            ) from error
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _require_listener(address: str) -> None:
    """Raise ConfigError if nothing listens at HOST:PORT: Ray itself would try for minutes, and then exit."""
    host, colon, port = address.rpartition(":")
    if not colon:
        if address != "auto":
            raise ConfigError(f"address must be {LOCAL}, auto or HOST:PORT, got {address!r}; set one of them")
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: str, reason: str) -> ConfigError:
    return ConfigError(
        f"address must be that of a running Ray cluster, got {address} ({reason}); start one (ray start --head), set "
        f"address=HOST:PORT, or address={LOCAL} for this machine alone"
    )
