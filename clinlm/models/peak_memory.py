"""Peak memory of this process, without torch: processes that answer have none."""

import sys
from pathlib import Path

# The definition below is part of the key of every stage; which library answers it is not.
if sys.platform == "win32":
    from clinlm.models import windows_memory as resource
if sys.platform != "win32":
    import resource


def peak_mib() -> float:
    """Return the peak resident memory of this process in MiB.

    Linux's `ru_maxrss` survives exec and would report the parent's peak, so /proc is read if it exists.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS
