"""How this process computes: precision, threads, memory, and the time it takes."""

import ctypes
import os
import platform
import sys
import time
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def best_precision() -> str:
    """Return `bf16-mixed` where the hardware computes in bfloat16 fast, else `32-true`, as Lightning names them."""
    flags = [] if _may_have_gpu() else processor_facts("flags")
    amx, bf16 = "amx_tile" in flags, "avx512_bf16" in flags
    if not flags:
        import torch  # here, because it takes seconds, and settings are read by all that trains nothing

        if torch.cuda.is_available():
            return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        amx, bf16 = torch.cpu._is_amx_tile_supported(), torch.cpu._is_avx512_bf16_supported()
    # AVX512-BF16 alone does not make it fast: matrix products of 1024 x 1024 ran at 91 GFLOP/s in bfloat16 and 148 in
    # float32 on an Intel Xeon that has it without AMX, and MiniLM trained 1.4 times slower; AMD's cores and Intel's AMX
    # do gain.
    return "bf16-mixed" if amx or (bf16 and processor_facts("vendor_id") == ["AuthenticAMD"]) else "32-true"


def _may_have_gpu() -> bool:
    """Return whether a driver of a GPU is loaded; True where only torch can tell: elsewhere than on Linux on x86."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return True
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))  # of NVIDIA, AMD, Windows


def processor_facts(name: str) -> list[str]:
    """Return the words of a line of /proc/cpuinfo, of the first processor; none where there is no such line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].split() for line in lines if line.split(":")[0].strip() == name), [])


def keep_memory() -> None:
    """Make glibc, where there is one, keep freed memory for the next tensor instead of returning it to the system.

    Otherwise every large tensor costs a system call and a page fault per page: a training step of MiniLM took 1.15
    times as long.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def share_cores() -> None:
    """Limit torch to the threads of this job: two jobs that each use all cores are several times slower.

    submitit has `cpus_per_task`; its local executor starts all jobs at once, so without that setting each gets one
    thread. Joblib and Ray set OMP_NUM_THREADS in every process themselves, and torch has read it.
    """
    from hydra.core.hydra_config import HydraConfig

    alone = os.environ.get("SUBMITIT_EXECUTOR") != "local"
    threads = HydraConfig.get().launcher.get("cpus_per_task")
    if alone and not threads:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads or 1)  # torch reads it when it is imported
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads or 1)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since then."""
        return time.monotonic() - self._began
