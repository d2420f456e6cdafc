"""What this machine is and how we run on it: facts that configuration asks for."""

import ctypes
import os
import sys
import time
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console

from clinlm.config.subsets import subsets

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def best_precision() -> str:
    """Return `bf16-mixed` where the processor computes in it natively, else `32-true`, in Lightning's words."""
    import torch  # here, because `clinlm --help` needs none of it

    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    # AVX512-BF16 alone does not make it fast: matrix products of 1024 x 1024 ran at 91 GFLOP/s in bfloat16 and 148 in
    # float32 on an Intel Xeon that has it without AMX, and MiniLM trained 1.4 times slower; AMD's cores and Intel's AMX
    # do gain.
    native = torch.cpu._is_amx_tile_supported() or (
        torch.cpu._is_avx512_bf16_supported() and _vendor() == "AuthenticAMD"
    )
    return "bf16-mixed" if native else "32-true"


def _vendor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")


def keep_memory() -> None:
    """Ask glibc to keep freed memory for the next tensor instead of returning it to the system, where there is glibc.

    Every large tensor otherwise costs a system call and a page fault per page: a training step of MiniLM took 1.15
    times as long.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def share_cores() -> None:
    """Compute with the threads that a job may have: two jobs that each take all cores are several times slower.

    submitit says `cpus_per_task`; its local executor starts all jobs at once, and where it says nothing each gets one
    thread. Joblib and Ray set OMP_NUM_THREADS in every process themselves, which torch has read.
    """
    import torch

    alone = os.environ.get("SUBMITIT_EXECUTOR") != "local"
    told = HydraConfig.get().launcher.get("cpus_per_task")
    torch.set_num_threads(told or (torch.get_num_threads() if alone else 1))


def interactive() -> bool:
    """Return whether somebody watches: progress bars are drawn on a terminal only, and not in CI."""
    return sys.stderr.isatty() and "CI" not in os.environ


def console() -> Console:
    """Return where tables are printed: as wide as the terminal, or 120 columns into a file."""
    return Console(width=None if sys.stdout.isatty() else 120)


def run_group() -> str | None:
    """Return the name of the sweep that this run is part of, or None."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    return os.path.basename(hydra.sweep.dir)


def register() -> None:
    """Let configuration ask: `${best_precision:}`, `${interactive:}`, `${run_group:}`, `${subsets:a,b}`."""
    for resolver in (best_precision, interactive, run_group, subsets):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since then."""
        return time.monotonic() - self._began
