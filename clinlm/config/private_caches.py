"""Libraries that keep files between runs keep them in a folder of this process, which is removed when it ends."""

import atexit
import os

CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
"""Environment variables that say where. matplotlib lists the fonts of the system, in the home of the user; torch makes
`$TMPDIR/torchinductor_USER` when it is imported, and later runs compiled code from there, whoever put it there."""


def privatize_caches() -> None:
    """Give this process, and all that it starts, a folder for `CACHES`; one that the user has set stays.

    Nothing is made here: the libraries make what they need.
    """
    names = [name for name in CACHES if not os.environ.get(name)]
    if names:
        temporary = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"  # tempfile imports much
        folder = os.path.join(temporary, f"clinlm-{os.urandom(8).hex()}")
        os.environ.update({name: os.path.join(folder, name.lower()) for name in names})
        atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner and os.path.isdir(folder):  # not in a process that was forked
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
