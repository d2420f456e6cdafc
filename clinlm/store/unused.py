"""Folders of runs that ended before they began: a mistyped command leaves nothing behind."""

import shutil
from contextlib import suppress
from pathlib import Path

_SETTINGS = (".hydra", "multirun.yaml", "progress.json")
_PLACES = ("runs", "sweeps", "outputs")


def discard_unused(folder: Path) -> bool:
    """Remove the folder of a run or sweep that holds settings and empty logs only; return whether it did.

    Of the folders around it those that clinlm makes are removed as well, where they are empty.
    """
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    used = [path for path in files if not {*_SETTINGS} & {*path.parts} and (folder / path).stat().st_size]
    if used or not folder.is_dir():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    for parent in [*folder.absolute().parents][:2]:
        if parent.name not in _PLACES:
            break
        with suppress(OSError):  # it holds something
            parent.rmdir()
    return True
