"""What this process runs: a digest of all code of this project, and of what is installed beside it."""

import hashlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from clinlm import STARTED
from clinlm.config.class_paths import OWN_PACKAGES


@cache
def running_code() -> str:
    """Return a digest that differs where any file of this project, any installed version, `sys.path` or Python does.

    Much coarser than the code in a key (`clinlm.store.sources`), and a hundred times faster to compute: what is kept
    under it need not be computed again, and nothing is lost where it is. "" where it is not known what this process
    runs, since files changed after it began: then nothing may be kept or read.
    """
    digest, written = _on_disk()
    return digest if written < STARTED else ""


def may_keep() -> bool:
    """Return whether what was computed until now is what the code of `running_code` computes."""
    digest, written = _on_disk()
    return written < STARTED and digest == running_code()


def _on_disk() -> tuple[str, float]:
    """Return the digest of what lies on the disk now, and when a file of this project was written last."""
    places = [os.path.abspath(place) for place in sys.path]
    installed = sorted(path.name for place in places if Path(place).is_dir() for path in Path(place).glob("*-info"))
    found = hashlib.sha256(repr((platform.python_version(), places, installed)).encode())
    newest = 0.0
    for path, name in _files():
        facts, content = path.stat(), path.read_bytes()
        found.update(f"{name}\n{len(content)}\n".encode() + content)
        newest = max(newest, facts.st_mtime, facts.st_ctime)  # one copied here keeps the first, and not the second
    return found.hexdigest(), newest


def _files() -> Iterator[tuple[Path, str]]:
    """Yield the files of this project's packages, and their names in them."""
    for package in OWN_PACKAGES:
        spec = importlib.util.find_spec(package.rstrip("."))
        for root in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(root).rglob("*")):
                if path.is_file() and path.parent.name != "__pycache__":
                    yield path, f"{package}{path.relative_to(root)}"
