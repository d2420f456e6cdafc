"""Libraries that keep files between runs keep them in a folder of this process, which is removed when it ends."""

import atexit
import os
import re
import time

CACHES = ("MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
"""Environment variables that say where. matplotlib lists the fonts of the system, in the home of the user; torch makes
`$TMPDIR/torchinductor_USER` when it is imported, and later runs compiled code from there, whoever put it there."""
_FOLDER = re.compile(r"clinlm-[0-9a-f]{16}")
_FORGOTTEN_S = 7 * 24 * 3600.0
"""Age at which a folder is one that a killed process left."""


def privatize_caches() -> None:
    """Give this process, and all that it starts, a folder for `CACHES`; one that the user has set stays.

    Nothing is made here: the libraries make what they need.
    """
    names = [name for name in CACHES if not os.environ.get(name)]
    if names:
        folder = private_folder()
        os.environ.update({name: os.path.join(folder, name.lower()) for name in names})


def private_folder() -> str:
    """Return the path of a folder for files of this process, which is not made, and is removed when it ends."""
    temporary = os.environ.get("TMPDIR") or os.environ.get("TEMP") or "/tmp"  # tempfile imports much
    _forget(temporary)
    folder = os.path.join(temporary, f"clinlm-{os.urandom(8).hex()}")
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner and os.path.isdir(folder):  # not in a process that was forked
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _forget(temporary: str) -> None:
    """Remove what processes of this user that were killed left a week ago."""
    try:
        with os.scandir(temporary) as entries:
            named = [entry for entry in entries if _FOLDER.fullmatch(entry.name)]
        facts = [
            (entry.path, entry.stat(follow_symlinks=False)) for entry in named if entry.is_dir(follow_symlinks=False)
        ]
    except OSError:  # no such folder, or it went meanwhile
        return
    mine = os.getuid() if hasattr(os, "getuid") else None
    for path, own in facts:
        if time.time() - own.st_mtime > _FORGOTTEN_S and mine in (None, own.st_uid):
            _remove(path, os.getpid())
