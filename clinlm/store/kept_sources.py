"""The code that settings reach, kept in the store: parsing two hundred modules takes longer than all else of a key."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clinlm.config.class_paths import OWN_PACKAGES
from clinlm.store.locks import make_store
from clinlm.store.own_code import may_keep, running_code
from clinlm.store.sources import named_targets, sources

_NAME = "code.json"
_kept: dict[str, dict[str, str]] | None = None
"""What is named -> the digests of all that it reaches; None where nothing is kept."""


def reached_code(settings: Any, code: Iterable[str] = ()) -> dict[str, str]:
    """Return `sources(settings, code)`, from what is kept if it is there."""
    named = {*code, *named_targets(settings)}
    own = {name for name in named if name.startswith(OWN_PACKAGES)}
    # Nothing else is in `running_code`: what a user's module holds, or a name that is not found yet, may change.
    others = named - own
    return (_own_code(own) if own else {}) | (sources({}, others) if others else {})


def _own_code(named: set[str]) -> dict[str, str]:
    name = " ".join(sorted(named))
    if _kept is not None and name in _kept:
        return _kept[name]
    found = sources({}, named)
    if _kept is not None and all(where.startswith(OWN_PACKAGES) for where in found):
        _kept[name] = found
    return found


@contextmanager
def kept_sources(root: Path) -> Iterator[None]:
    """Keep what `reached_code` finds in the store `root`, for processes that run the same code."""
    global _kept
    path = root / _NAME
    before, _kept = _kept, _read(path) if running_code() else None
    known = len(_kept or ())
    try:
        yield
    finally:
        found, _kept = _kept, before
        if found is not None and len(found) > known and may_keep():
            _write(path, found)


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        checked, _, text = path.read_bytes().partition(b"\n")
        if checked.decode() != _digest(text):
            return {}
        content = json.loads(text)
        definitions = list(content["definitions"].items())
        return {name: dict(definitions[place] for place in places) for name, places in content["reached"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}  # none, or none of this form: it is computed, and written again


def _write(path: Path, found: dict[str, dict[str, str]]) -> None:
    definitions = {name: digest for own in found.values() for name, digest in own.items()}
    places = {name: place for place, name in enumerate(definitions)}
    reached = {name: [places[definition] for definition in own] for name, own in found.items()}
    text = json.dumps({"definitions": definitions, "reached": reached}, separators=(",", ":")).encode()
    draft = path.with_name(f".{_NAME}.{os.getpid()}")
    with suppress(OSError):  # a store that cannot be written
        make_store(path.parent)
        draft.write_bytes(_digest(text).encode() + b"\n" + text)
        os.replace(draft, path)


def _digest(text: bytes) -> str:
    """Return what differs where a byte of the file, or the code that it was written by, does."""
    return hashlib.sha256(running_code().encode() + text).hexdigest()
