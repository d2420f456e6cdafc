"""A connection to Ray: to a cluster that runs, or to a Ray of this machine, which ends with the connection."""

import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from clinlm.config.errors import ConfigError
from clinlm.config.extras import imported
from clinlm.config.private_caches import private_folder

LOCAL: Final = "local"
_STORE_BYTES: Final = 80 * 2**20
"""Of Ray's object store on this machine, little more than its least: tasks take and return settings and counts."""
_LONGEST: Final = 40
"""Characters of the path of Ray's files on this machine: the sockets in it have longer ones, and 107 at most."""
_REACH_S: Final = 5.0


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


@contextmanager
def connected(
    ray: Any, address: str, workers: int, setting: str = "address", log_to_driver: bool = False
) -> Iterator[None]:
    """Connect to a cluster, or start one, which ends with the connection, and of which no file is left.

    Args:
        ray: see `load_ray`.
        address: `LOCAL` starts Ray on this machine; "auto" or HOST:PORT joins a cluster.
        workers: processes of a Ray on this machine.
        setting: name of what says the address, for messages.
        log_to_driver: whether this process prints what workers print.

    Raises:
        ConfigError: there is no cluster at the address, or Ray does not start.
    """
    if address != LOCAL:
        _require_listener(address, setting)
    folder = private_folder()
    if address == LOCAL and len(folder) > _LONGEST and sys.platform != "win32":
        raise ConfigError(
            f"the folder of temporary files must have a short name, for the sockets of Ray in it, got {folder}; set "
            "TMPDIR to a folder such as /tmp"
        )
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _STORE_BYTES, "_temp_dir": folder}
    try:
        try:
            options = own if address == LOCAL else {}
            ray.init(address=address, log_to_driver=log_to_driver, logging_level="error", **options)
        except Exception as error:  # of no narrower type: it gives its processes 30 s
            reason = str(error).partition("\n")[0]
            if address != LOCAL:
                raise _unreachable(address, reason, setting) from error
            raise ConfigError(
                f"Ray must start on this machine, got {reason!r}; run the same command again when the machine is less "
                "busy, or without Ray"
            ) from error
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _require_listener(address: str, setting: str) -> None:
    """Raise ConfigError if nothing listens at HOST:PORT: Ray itself would try for minutes, and then exit."""
    host, colon, port = address.rpartition(":")
    if not colon:
        if address != "auto":
            raise ConfigError(f"{setting} must be {LOCAL}, auto or HOST:PORT, got {address!r}; set one of them")
        return
    try:
        socket.create_connection((host.rpartition("/")[2].strip("[]"), int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, str(error), setting) from None


def _unreachable(address: str, reason: str, setting: str) -> ConfigError:
    return ConfigError(
        f"{setting} must be that of a running Ray cluster, got {address} ({reason}); start one (ray start --head), set "
        f"{setting}=HOST:PORT, or {setting}={LOCAL} for this machine alone"
    )
