"""A PostgreSQL server of a test's own, from Debian's package: on loopback, in a folder, gone afterwards."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ABSENT = "PostgreSQL is not there: apt-get install postgresql"
WAIT_S = 60


@dataclass(frozen=True)
class Server:
    """A running server with one user, `clinlm`, whose password is needed."""

    binaries: Path
    port: int
    password: str

    @property
    def address(self) -> str:
        return f"postgresql://clinlm:{self.password}@127.0.0.1:{self.port}/postgres"

    def run(self, statements: str, data: bytes | None = None) -> None:
        """Run SQL; `data` is what COPY reads."""
        command = [str(self.binaries / "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-c", statements, self.address]
        subprocess.run(command, input=data, check=True, capture_output=True)


@contextmanager
def started() -> Iterator[Server]:
    """Start a server; skip the test where Debian's package is absent."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    place = str(found[-1]) if found else shutil.which("initdb")
    if place is None:
        pytest.skip(ABSENT)
    with tempfile.TemporaryDirectory(prefix="clinlm-postgres-") as folder:  # pytest's own is closed to other users
        yield from _server(Path(place).parent, Path(folder))


def _server(binaries: Path, folder: Path) -> Iterator[Server]:
    password = secrets.token_hex(16)
    data, secret = folder / "data", folder / "password"
    secret.write_text(password)
    own: dict[str, str | int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        if subprocess.run(["id", "postgres"], capture_output=True).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        for path in (folder, secret):
            shutil.chown(path, "postgres", "postgres")
        own = {"user": "postgres", "group": "postgres"}
    initdb = [str(binaries / "initdb"), "-U", "clinlm", "-A", "scram-sha-256", "--pwfile", str(secret), "-D", str(data)]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C", "-N"], check=True, capture_output=True, cwd=folder, **own)  # type: ignore[call-overload]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *settings]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **own)  # type: ignore[call-overload]
    try:
        _wait(port, process)
        yield Server(binaries, port, password)
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not start")
