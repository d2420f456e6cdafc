"""The store: folders named by a hash of all they depend on, built once under a lock, trusted only when whole.

Nothing that lies in the store is ever unpickled: safetensors, JSON and parquet only.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

RECORD = "record.json"
_PACKAGES = ("clinlm", "callbacks")
_LENGTH = 12
_DOTTED = re.compile(r"(clinlm|callbacks)(\.\w+)+")


class Damaged(RuntimeError):
    """A stored folder whose files are not those that were recorded."""


def digest(settings: Any) -> str:
    """Return the key of anything made of JSON: 12 hex digits of the sha256 of its canonical form.

    Raises:
        TypeError, ValueError: something that JSON cannot hold, such as an object or NaN.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def sources(settings: Any) -> dict[str, str]:
    """Return a digest of the code of every one of our files that the `_target_`s in `settings` reach.

    They reach what they import, and what they name by a dotted path in a string, as an `Edit` names its function.
    Only the syntax tree counts, without docstrings: a comment or better sentence retrains nothing, a changed line does.
    """
    found: dict[str, str] = {}
    waiting = [target.rpartition(".")[0] for target in _targets(settings)]
    while waiting:
        module = waiting.pop()
        if module.partition(".")[0] in _PACKAGES and module not in found:
            tree = _code(module)
            found[module] = hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:_LENGTH]
            waiting += _imports(tree)
    return dict(sorted(found.items()))


def write_json(path: Path, content: Any) -> None:
    """Write `content` so that `path` holds either all of it or what it held before."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, path)


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Declare `folder` whole: write `record.json`, last, with the sha256 of every file in it, `facts` and a digest."""
    files = {str(p.relative_to(folder)): _sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    record = {"files": files, **facts}
    write_json(folder / RECORD, record | {"digest": digest(record)})


def sealed(folder: Path) -> bool:
    """Return whether `folder` was declared whole. Says nothing of its files: see `verify`."""
    return (folder / RECORD).is_file()


def verify(folder: Path) -> dict[str, Any]:
    """Return the record of a whole folder after comparing every file with it.

    Raises:
        Damaged: the record cannot be read, a file is missing or differs. Files that came later (caches) are not its
            concern.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files, told = record["files"].items(), record.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
        raise Damaged(f"{folder / RECORD} cannot be read ({type(error).__name__})") from error
    if digest(record) != told:
        raise Damaged(f"{folder / RECORD} is not the record that was written")
    for name, expected in files:
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{path} is missing")
        if _sha256(path) != expected:
            raise Damaged(f"{path} is not the file that was recorded")
    return record


def read_record(folder: Path) -> dict[str, Any]:
    """Return what `seal` wrote, without checking the files: see `verify`."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def set_aside(folder: Path) -> Path:
    """Move a damaged folder out of the way and return where it went."""
    aside = folder.with_name(f"{folder.name}.damaged-{time.time_ns()}")
    os.replace(folder, aside)
    return aside


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Hold the lock of `folder`; yields whether it is already whole and undamaged.

    A damaged folder is set aside with a warning. A folder without a record is kept: it holds the checkpoint to go on
    from; files that a killed process was about to write (`.NAME`) are removed. The lock is the operating system's, so
    it dies with its holder.
    """
    with locked(folder):
        if sealed(folder):
            try:
                verify(folder)
            except Damaged as damage:
                log.warning("%s; set aside as %s and built again", damage, set_aside(folder).name)
        folder.mkdir(mode=0o700, exist_ok=True)
        whole = sealed(folder)
        for draft in [] if whole else folder.glob(".*"):
            draft.unlink()
        yield whole


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a file or folder that need not exist yet, against every other process asking for it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process that is building %s", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _targets(settings: Any) -> list[str]:
    if isinstance(settings, Mapping):
        own = [settings["_target_"]] if isinstance(settings.get("_target_"), str) else []
        return own + [t for value in settings.values() for t in _targets(value)]
    if isinstance(settings, (list, tuple)):
        return [t for value in settings for t in _targets(value)]
    return []


@functools.cache
def _code(module: str) -> ast.Module:
    """Return the syntax tree as it was when first asked for: a process runs the code that it imported at its start."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"a _target_ names a class by its module; there is no module {module!r}; check the spelling")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body.pop(0)
    return tree


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module) -> list[str]:
    """Return the modules of ours that a file imports or names in a string."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"our files import by full names; one has {ast.unparse(node)!r}; write the full name")
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            names = [node.value]
        found += [_module(name) for name in names if name.partition(".")[0] in _PACKAGES]
    return found


def _module(dotted: str) -> str:
    """Return the module that `dotted` names, or that holds what it names."""
    module, *rest = dotted.split(".")
    for part in rest:
        spec = importlib.util.find_spec(module)
        if spec is None or spec.submodule_search_locations is None or not importlib.util.find_spec(f"{module}.{part}"):
            break
        module = f"{module}.{part}"
    return module
