"""Starts and ends the ranks of a fit on several devices, each a process of `clinlm.pipeline.rank`.

The process of the pipeline is rank 0: it holds the locks, writes, and does all but the fit alone. For every fit it
starts the others, which read what the stage starts from in the store, build the same module, and end with the fit. So a
stage that trains nothing needs one process, whatever `trainer` says, and nothing is pickled.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment, find_free_network_port
from safetensors.torch import save_file
from torch import Tensor, distributed

from clinlm.config.errors import ClinlmError, ConfigError, TrainingError
from clinlm.config.targets import trusted_packages
from clinlm.models.artifact import Artifact
from clinlm.store.own_code import may_keep
from clinlm.tasks.base import Task
from clinlm.tasks.transfer_set import TransferSet

log = logging.getLogger(__name__)

READY = "ready"
"""What a rank says when it is ready for the fit."""
_GRACE_S = 30.0
"""Seconds in which the ranks that are left notice that one has ended, before they are ended too."""


@final
class RankEnvironment(LightningEnvironment):
    """Tells Lightning which rank this process is; processes are started by `started_ranks`.

    Args:
        rank: of this process.
        port: of rank 0, where the ranks find each other.
    """

    def __init__(self, rank: int, port: int) -> None:
        super().__init__()
        self.rank, self.port = rank, port

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning's hook: it starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Lightning's hook: all ranks are on this machine."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Lightning's hook."""
        return self.port

    def local_rank(self) -> int:
        """Lightning's hook."""
        return self.rank

    def node_rank(self) -> int:
        """Lightning's hook."""
        return 0


@final
@dataclass(frozen=True)
class Inputs:
    """All that a fit begins with, as every rank needs it.

    Attributes:
        task: opened.
        parent: the artifact that the stage continues; None if it has an initializer.
        network: the first teacher with a network; None without any.
        transfer: the texts that the stage learns from besides; None for none.
        logits: of teachers: `teacher_logits` and `wide_logits` of `TaskData`, without those that are None.
    """

    task: Task
    parent: Artifact | None
    network: Artifact | None
    transfer: TransferSet | None
    logits: Mapping[str, Tensor]


@final
@dataclass(frozen=True)
class Origin:
    """The settings that a rank builds a stage and its task from, as plain JSON."""

    stage: Mapping[str, Any]
    task: Mapping[str, Any]


@final
class LeaveAtEnd(Callback):
    """Ends a rank after training: what follows, rank 0 does alone."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning's hook."""
        os._exit(0)


@contextmanager
def started_ranks(
    environment: RankEnvironment, ranks: int, origin: Origin, inputs: Inputs, folder: Path, checkpoint: Path | None
) -> Iterator[None]:
    """Start the other ranks of a fit, wait until they are ready for it, and end them after it.

    Args:
        environment: of rank 0, this process.
        ranks: how many there are, this one included.
        folder: of the stage.
        checkpoint: that the fit continues from.

    Raises:
        TrainingError: a rank ended before the fit did.
        ConfigError: code changed since this process began, so that the others would run another.
    """
    if not may_keep():
        raise ConfigError(
            "every rank must run the same code, and files of it changed since the run began; run it again"
        )
    threads = max(1, torch.get_num_threads() // ranks)
    with _own_state(threads), tempfile.TemporaryDirectory(prefix="clinlm-") as place:
        save_file(dict(inputs.logits), Path(place, "logits.safetensors"))
        job = _job(environment, ranks, origin, inputs, folder) | {
            "checkpoint": None if checkpoint is None else str(checkpoint.absolute()),
            "logits": str(Path(place, "logits.safetensors")),
            "threads": threads,
        }
        others = [_Rank(rank, job) for rank in range(1, ranks)]
        try:
            for other in others:
                other.wait()
            with _watched(others):
                yield
        finally:
            for other in others:
                other.end()


@contextmanager
def _own_state(threads: int) -> Iterator[None]:
    """Compute with so many threads; restore their number, and what Lightning leaves: the process group, variables."""
    before, variables = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*sync_dist=True")  # see `Module.log_loss`
            yield
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        torch.set_num_threads(before)
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)


@contextmanager
def _watched(others: Sequence["_Rank"]) -> Iterator[None]:
    """Watch the other ranks during a fit: if one ends, the fit cannot, and a lost connection says nothing."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(others, over), daemon=True).start()
    try:
        yield
    except ClinlmError:
        raise
    except Exception as error:
        if (explained := _explained(others)) is not None:
            raise explained from error
        raise
    finally:
        over.set()


class _Rank:
    """Another rank, as a process that reads its job from its input, and ends when that closes."""

    def __init__(self, rank: int, job: Mapping[str, Any]) -> None:
        self.rank = rank
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clinlm.pipeline.rank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # a Ctrl-C is for rank 0, which ends the others
            env={**os.environ, "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": str(job["threads"])},
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `wait` says why
            self._process.stdin.write(json.dumps({**job, "rank": rank}) + "\n")
            self._process.stdin.flush()

    def wait(self) -> None:
        """Return when the rank is ready for the fit; what else libraries print is ignored."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == READY:
                return
        self._process.wait()
        raise TrainingError(self.words())

    def failed(self) -> bool:
        """Return whether the process has ended with an error."""
        return bool(self._process.poll())

    def words(self) -> str:
        """Return how the process ended, and the last line of what it said."""
        self._errors.seek(0)
        said = "".join(self._errors.read().strip().splitlines()[-1:])
        status = self._process.returncode
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"rank {self.rank} must train until the end, and {how}{said and f': {said}'}"

    def end(self) -> None:
        """End the process, if it runs."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def _job(
    environment: RankEnvironment, ranks: int, origin: Origin, inputs: Inputs, folder: Path
) -> dict[str, str | int | list[str] | Mapping[str, Any] | None]:
    assert inputs.task.folder is not None
    own = {"parent": inputs.parent, "network": inputs.network}
    return {
        "path": sys.path,
        "allow": trusted_packages(),
        "stage": origin.stage,
        "task": origin.task,
        "task_folder": str(inputs.task.folder.absolute()),
        "folder": str(folder.absolute()),
        **{name: None if artifact is None else str(artifact.folder.absolute()) for name, artifact in own.items()},
        "transfer": None if inputs.transfer is None else inputs.transfer.key,
        "port": environment.port,
        "ranks": ranks,
    }


def _watch(others: Sequence[_Rank], over: threading.Event) -> None:
    """End this process, too, where a rank has failed and the fit waits for it: a GPU's collectives wait for ever."""
    while not over.wait(1.0):
        if any(other.failed() for other in others) and not over.wait(_GRACE_S):
            log.error("%s", _explained(others))
            os._exit(1)


def _explained(others: Sequence[_Rank]) -> TrainingError | None:
    """Return why a fit failed, if another rank did."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        for other in others:
            if other.failed():
                return TrainingError(other.words())
        time.sleep(0.1)
    return None


def own_environment() -> RankEnvironment:
    """Return the environment of rank 0, with a free port."""
    return RankEnvironment(0, find_free_network_port())
