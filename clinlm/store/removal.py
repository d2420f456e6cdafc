"""Removes from a store what no run needs: each entry under its lock, by a rename first."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from clinlm.store.inventory import LEFTOVER, Inventory, StoreEntry
from clinlm.store.locks import if_free

_DAY_S: Final = 86_400


def unneeded(inventory: Inventory, days: float) -> list[StoreEntry]:
    """Return the entries that can be removed, children before parents.

    That is what no run needs, and neither what was used in the last `days` nor what that was made from.
    """
    now, entries = time.time(), inventory.entries
    young = {name for name, entry in entries.items() if entry.used > now - _DAY_S * days}
    # Nobody holds the lock of what is removed or imported at this moment: it is no leftover yet.
    young |= {name for name, entry in entries.items() if entry.kind == LEFTOVER and entry.used > now - _DAY_S}
    kept = inventory.needed() | {*inventory.lineage(young)}
    return [entries[name] for name in reversed(inventory.lineage(entries)) if name not in kept]


def remove_entries(
    inventory: Inventory, entries: Sequence[StoreEntry], remove: bool
) -> Iterator[tuple[StoreEntry, bool]]:
    """Yield entries, and whether they can be removed: no process holds one of their locks, or has used them since.

    What one that cannot be was made from cannot be, either.

    Args:
        entries: as `unneeded` returns them.
        remove: whether those that can be removed are.
    """
    kept: set[str] = set()
    for entry in entries:
        name = entry.path.name
        with ExitStack() as stack:
            free = name not in kept
            free = free and all(stack.enter_context(if_free(path)) for path in _locked_paths(entry.path))
            free = free and entry.path.exists() and entry.path.stat().st_mtime <= entry.used
            if not free:
                kept |= {*inventory.lineage([name])}
            elif remove:
                _remove(entry.path)
        yield entry, free


def _locked_paths(path: Path) -> list[Path]:
    """Return what processes lock of an entry: itself, and the arrays in it that are computed when they are needed."""
    inside = [lock.with_name(lock.name[1:].removesuffix(".lock")) for lock in path.rglob(".*.lock")]
    return [path, *inside]


def _remove(path: Path) -> None:
    """Remove a folder or file: under its name it is there whole, or not at all."""
    aside = path if path.name.startswith(".") else path.with_name(f".{path.name}.removed-{time.time_ns()}")
    os.replace(path, aside)
    if aside.is_dir():
        shutil.rmtree(aside)
    else:
        aside.unlink()
