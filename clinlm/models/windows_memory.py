"""What `clinlm.models.memory` asks of `resource` and of the C library, on Windows. Nobody has run it there yet."""

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

RUSAGE_SELF = 0


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of psapi.h."""

    _fields_ = [("cb", ctypes.c_uint32), ("PageFaultCount", ctypes.c_uint32)] + [
        (name, ctypes.c_size_t)
        for name in (
            *("PeakWorkingSetSize", "WorkingSetSize", "QuotaPeakPagedPoolUsage", "QuotaPagedPoolUsage"),
            *("QuotaPeakNonPagedPoolUsage", "QuotaNonPagedPoolUsage", "PagefileUsage", "PeakPagefileUsage"),
        )
    ]


class WindowsUsage(NamedTuple):
    """The part of `resource.getrusage` that is read.

    Attributes:
        ru_maxrss: peak resident memory in bytes, as on macOS.
    """

    ru_maxrss: int


def getrusage(who: int) -> WindowsUsage:
    """Return the peak memory of this process.

    Raises:
        OSError: Windows does not say.
    """
    libraries: Any = ctypes.windll  # type: ignore[attr-defined,unused-ignore]
    kernel = libraries.kernel32
    current: Callable[[], Any] = kernel.GetCurrentProcess
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    process = ctypes.c_void_p(current())
    if not kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.cb):
        raise OSError("Windows did not say how much memory this process has used")
    return WindowsUsage(counters.PeakWorkingSetSize)


def CDLL(name: None) -> NoReturn:
    """Say that there is no glibc, whose `malloc_trim` returns freed memory to the system.

    Raises:
        OSError: always.
    """
    raise OSError("no glibc")
