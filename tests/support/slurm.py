"""A SLURM cluster of one node, from Debian's packages: on loopback, in a folder, gone afterwards. It needs root.

The node is said to have a GPU, which is a file that nobody opens; nothing is accounted, so that `sacct` says nothing.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT_S = 60
_COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun")
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "slurmctld", "slurmd", "slurm-client")
SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MinJobAge=600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a controller and a node; yield what the environment of sbatch needs. Skip where they cannot run."""
    _install()
    folder.mkdir(parents=True)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    path = folder / "slurm.conf"
    places = {"folder": folder, "host": socket.gethostname(), "cores": os.cpu_count()}
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n", encoding="utf-8")
    path.write_text(SETTINGS.format(controller=_free_port(), node=_free_port(), **places), encoding="utf-8")
    own = {"SLURM_CONF": str(path)}
    commands = [["slurmctld", "-D", "-i", "-f", str(path)], ["slurmd", "-D", "-f", str(path)]]
    with (folder / "said").open("wb") as said:
        started = [subprocess.Popen(command, env=os.environ | own, stdout=said, stderr=said) for command in commands]
        try:
            _wait(own, started)
            yield own
        finally:
            subprocess.run(["scancel", "--state=RUNNING", "--user=root"], env=os.environ | own, capture_output=True)
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait(WAIT_S)


def _install() -> None:
    """Install Debian's packages where they are not there; skip the test where that, or a node, cannot be."""
    if os.geteuid() != 0:
        pytest.skip("a node of SLURM runs as root only")
    for attempt in (False, True):
        if all(map(shutil.which, _COMMANDS)):
            return
        if attempt or shutil.which(_INSTALL[0]) is None:
            break
        subprocess.run([_INSTALL[0], "update"], capture_output=True)
        subprocess.run(_INSTALL, capture_output=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    pytest.skip(f"needs {', '.join(_COMMANDS)}; installing them ({' '.join(_INSTALL)}) needs root and Debian's archive")


def _wait(own: dict[str, str], started: list["subprocess.Popen[bytes]"]) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and all(process.poll() is None for process in started):
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], env=os.environ | own, capture_output=True, text=True)
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise AssertionError("SLURM did not start")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
