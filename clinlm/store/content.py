"""Folders named by their cache key, built once under a lock, and verified before use.

Nothing in the store is ever unpickled: safetensors, JSON and parquet only.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, final

from clinlm.config.errors import DataError, MissingFileError, ModelError, ServerError
from clinlm.store.key import digest
from clinlm.store.leases import LostLease
from clinlm.store.locks import end_lease, if_free, lease_token, locked, make_private, require_writable, writable

log = logging.getLogger(__name__)

RECORD = "record.json"
USES = "uses"
"""Folder in the store; a file a run, with the names of the folders that it claimed."""
_DIGEST = "digest"
_DRAFT = f".{RECORD}.lease-"
"""A record that is about to become that of its folder, before the number of the lease under which it was made."""


FORMAT = 1
"""Of records; those without a number are of versions before there was one."""


class Damaged(ModelError):
    """A stored folder whose files differ from its record."""


def write_json(path: Path, content: Any) -> None:
    """Write `content` so that `path` holds either all of it or what it held before."""
    write_files(path.parent, {path.name: json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"})


def with_digest(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return an object as it is read back from JSON, with a digest of what is in it and of `names`."""
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return plain | {_DIGEST: digest([*names, plain])}


def write_digested(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically, with a digest of what is in it and of the names of file and folder."""
    write_json(path, with_digest(content, *path.parts[-2:]))


def read_digested(path: Path) -> dict[str, Any]:
    """Return what `write_digested` wrote.

    Raises:
        DataError: the file is damaged, is that of another name, or has no digest.
    """
    try:
        return digested(path, path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__})") from error


def digested(path: Path, text: bytes) -> dict[str, Any]:
    """Return what `write_digested` wrote into a file of this path, from its bytes.

    Raises:
        DataError: as in `read_digested`.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        # Of earlier versions the second: of the content alone.
        if content.pop(_DIGEST) in (digest([*path.parts[-2:], content]), digest(content)):
            return content
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__})") from error
    raise DataError(f"{path} is not the file that was written there")


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write files into `folder`, in order, each replaced atomically, and return their paths."""
    for name, content in contents.items():
        draft = folder / f".{name}.{os.getpid()}"
        draft.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(draft, folder / name)
    return [folder / name for name in contents]


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Declare `folder` complete: write `record.json`, last, with the sha256 of every file, `facts` and a digest.

    Raises:
        LostLease: another process has taken the folder meanwhile: see `clinlm.store.leases`.
    """
    files = {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    record = {"files": files, "format": FORMAT, **facts}
    if not (token := lease_token(folder)):
        write_json(folder / RECORD, record | {"digest": digest(record)})
        return
    # Under a lease it may have been taken meanwhile. Whoever takes it after this draft completes it: see `claim`.
    draft = folder / f"{_DRAFT}{token}"
    write_json(draft, record | {"digest": digest(record)})
    try:
        end_lease(folder)
    except LostLease:
        draft.unlink(missing_ok=True)
        raise
    with suppress(FileNotFoundError):
        os.replace(draft, folder / RECORD)


def sealed(folder: Path) -> bool:
    """Return whether `folder` was declared complete, without checking its files: see `verify`."""
    return (folder / RECORD).is_file()


def recorded_json(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON file of a complete folder after comparing it, and no other file, with the record.

    Raises:
        Damaged: the record or the file is not the one that was written.
        ModelError: a later version of clinlm wrote it.
    """
    content, expected = (folder / name).read_bytes(), checked_record(folder)["files"].get(name)
    if hashlib.sha256(content).hexdigest() != expected:
        raise Damaged(f"{folder / name} is not the file that was recorded; run its pipeline again")
    found: dict[str, Any] = json.loads(content)
    return found


def verify(folder: Path, needs: Collection[str] = ()) -> dict[str, Any]:
    """Return the record of a complete folder after comparing every file with it.

    Args:
        needs: files without which it is not complete.

    Raises:
        Damaged: the record cannot be read, or a file is missing, differs, or lies elsewhere (a link). Files added later
            (caches) are ignored.
        ModelError: a later version of clinlm wrote it.
    """
    record, place = checked_record(folder), folder.resolve()
    for name in needs:
        if name not in record["files"]:
            raise Damaged(f"{folder} was sealed without {name}")
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            raise Damaged(f"{path} is missing")
        if path.resolve() != place / name or not path.resolve().is_relative_to(place):
            raise Damaged(f"{path} is a link, or outside of the folder")
        if sha256(path) != expected:
            raise Damaged(f"{path} is not the file that was recorded")
    return record


def checked_record(folder: Path) -> dict[str, Any]:
    """Return the record of a complete folder after comparing it with its own digest, and no file: see `verify`.

    Raises:
        Damaged: the record cannot be read, or is not the one that was written.
        ModelError: a later version of clinlm wrote it.
    """
    if (folder / RECORD).is_symlink():
        raise Damaged(f"{folder / RECORD} is a link")
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        later = record.get("format", 0) > FORMAT
        expected_digest = record.pop(_DIGEST)
        record["files"].items()
    except (ValueError, KeyError, AttributeError, TypeError, OSError, RecursionError) as error:
        raise Damaged(f"{folder / RECORD} cannot be read ({type(error).__name__})") from error
    if later:
        raise ModelError(
            f"{folder / RECORD} was written by a later version of clinlm (format {record['format']}, this one knows "
            f"{FORMAT}); install that version, or use another store"
        )
    if digest(record) != expected_digest:
        raise Damaged(f"{folder / RECORD} is not the record that was written")
    return record


def verified(folder: Path) -> Path:
    """Return a complete folder of the store after `verify`, by whoever reads it later than it was claimed.

    A process reads its files again only where one has another size, date or inode than before.

    Raises:
        Damaged: see `verify`; also where it holds what was made for another folder.
        MissingFileError: it has no record.
    """
    if not sealed(folder):
        raise MissingFileError(
            f"a folder of the store must have a {RECORD}, {folder} has none: it is unfinished, or was moved away; run "
            "its pipeline again"
        )
    if _verified.get(folder) != _state(folder, _verified.get(folder, ())):
        try:
            record = verify(folder)
            check_own(folder, record)
        except Damaged as damage:
            raise Damaged(f"{damage}; run its pipeline again, which builds it again") from damage
        _verified[folder] = _state(folder, [(name,) for name in (RECORD, *record["files"])])
    return folder


_verified: dict[Path, list[tuple[Any, ...]]] = {}
"""Folder -> name, size, date and inode of its files when they were last compared."""


def _state(folder: Path, files: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    found = []
    for name, *_ in files:
        path = folder / name
        own = path.lstat() if path.exists() else None
        found.append((name, own and (own.st_size, own.st_mtime_ns, own.st_ino)))
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """Return what `seal` wrote, without checking the files: see `verify`."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def set_aside(folder: Path) -> Path:
    """Move a damaged folder out of the way and return its new path."""
    aside = folder.with_name(f"{folder.name}.damaged-{time.time_ns()}")
    os.replace(folder, aside)
    return aside


@contextmanager
def claim(folder: Path, needs: Collection[str] = ()) -> Iterator[bool]:
    """Hold the lock of `folder`; yield whether it is already complete and undamaged.

    Args:
        needs: files without which it is not complete.

    A damaged folder is set aside with a warning, and so is one that holds what was made for another. A folder without
    a record is kept, since it holds the checkpoint to continue from; files that a killed process was about to write
    (`.NAME`) are removed. The operating system releases the lock when its holder dies. The date of the folder is that
    of its last use, and the run that uses it is noted: see `used_by`. What is not complete here is taken from the
    mirror of the store, if it has one, and what is complete in the end is given to it: see `mirrored`.

    Raises:
        ConfigError: the store cannot be written, and does not have the complete folder.
    """
    with locked(folder):
        for draft in folder.glob(f"{_DRAFT}*") if not sealed(folder) else ():
            os.replace(draft, folder / RECORD)  # of who ended its lease, and was stopped before it could do this itself
        if folder.is_symlink() or folder.is_file() or (folder / RECORD).is_symlink() or sealed(folder):
            try:
                if folder.is_symlink() or folder.is_file():
                    raise Damaged(f"{folder} is a {'link' if folder.is_symlink() else 'file'}, and not a folder")
                check_own(folder, verify(folder, needs))
            except Damaged as damage:
                if not writable(folder.parent):
                    raise Damaged(f"{damage}, and {folder.parent} cannot be written; set another store") from damage
                log.warning("%s; moved to %s and built again", damage, set_aside(folder).name)
        mirror = _mirror_of(folder)
        if mirror is not None and not sealed(folder) and writable(folder.parent):
            mirror.fetch(folder, needs)
        whole = sealed(folder)
        require_writable(folder, whole)
        folder.mkdir(mode=0o700, exist_ok=True)
        make_private(folder)
        for draft in [] if whole else folder.glob(".*"):
            if draft.is_dir() and not draft.is_symlink():
                shutil.rmtree(draft)
            else:
                draft.unlink()
        with suppress(OSError):  # a store that cannot be written
            os.utime(folder)
            if _user is not None:
                _user.claim(folder)
        yield whole
        if mirror is not None and sealed(folder):
            mirror.keep(folder)


class Mirror(Protocol):
    """Another place for what a store holds; see `clinlm.store.url_mirror`. What it cannot do, it logs."""

    root: Path
    """The store, a folder."""

    def fetch(self, folder: Path, needs: Collection[str] = ()) -> None:
        """Put a folder into the store, compared with its record, if the mirror has it whole; its lock is held."""

    def keep(self, folder: Path) -> None:
        """Write a complete folder, if the mirror does not have it."""

    def fetch_file(self, path: Path) -> bytes | None:
        """Return a single file of the mirror; None if it has none.

        Raises:
            ServerError: it cannot be read, so that nobody knows.
        """

    def keep_file(self, path: Path) -> None:
        """Write a single file."""


@contextmanager
def mirrored(mirror: Mirror) -> Iterator[None]:
    """Use a mirror of the store `mirror.root` meanwhile."""
    global _mirror
    before, _mirror = _mirror, mirror
    try:
        yield
    finally:
        _mirror = before


def fetch_complete(folders: Iterable[Path]) -> None:
    """Take folders from the mirror of their store that are not complete here, and that no process is building."""
    for folder in folders:
        mirror = _mirror_of(folder)
        if mirror is not None and not sealed(folder) and writable(folder.parent):
            with if_free(folder) as free:
                if free and not sealed(folder):
                    mirror.fetch(folder)


@contextmanager
def mirrored_file(path: Path, take: Callable[[bytes], None]) -> Iterator[None]:
    """Let a file FOLDER/NAME of a store be that of its mirror, and write it there if it is another one in the end.

    While the mirror cannot be read, the file is that of this machine alone.

    Args:
        take: puts what the mirror has into the store.
    """
    if _mirror is None or path.absolute().parents[1] != _mirror.root:
        yield
        return
    try:
        before = _mirror.fetch_file(path)
    except ServerError as error:
        log.warning("%s; %s is the one of this machine", error, path.name)
        yield
        return
    if before is not None:
        take(before)
    yield
    if path.is_file() and path.read_bytes() != before:
        _mirror.keep_file(path)


def _mirror_of(folder: Path) -> Mirror | None:
    return _mirror if _mirror is not None and folder.absolute().parent == _mirror.root else None


_mirror: Mirror | None = None


@contextmanager
def used_by(run: Path, root: Path) -> Iterator[None]:
    """Note in the store `root` what is claimed of it meanwhile: `run`, a folder, needs it for as long as it exists.

    What an earlier run in the same folder used is dropped when this one ends well: until then it may be continued.
    """
    global _user
    path, earlier = root.absolute() / USES / f"{digest(str(run.absolute()))}.json", set[str]()
    with suppress(DataError, KeyError, TypeError):
        earlier = {*read_digested(path)["folders"]}
    before, _user = _user, _User(run.absolute(), path, earlier)
    try:
        yield
        with suppress(OSError):
            _user.write(earlier=set())
    finally:
        _user = before


@final
@dataclass(frozen=True)
class _User:
    """A run of this process, and what it claimed of its store.

    Attributes:
        path: of its file in the store.
        earlier: names of what an earlier run in the same folder claimed.
    """

    run: Path
    path: Path
    earlier: set[str]
    names: set[str] = field(default_factory=set)

    def claim(self, folder: Path) -> None:
        """Note a folder, if it is in the store of the run."""
        if folder.absolute().parent == self.path.parent.parent and folder.name not in self.names:
            self.names.add(folder.name)
            self.write(self.earlier)

    def write(self, earlier: set[str]) -> None:
        """Write the file, of a run that claimed something."""
        if self.names:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            write_digested(self.path, {"run": str(self.run), "folders": sorted(self.names | earlier)})


_user: _User | None = None


def check_own(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise Damaged unless the record was made for this folder, named STAGE-KEY or KIND-KEY."""
    stage, _, key = folder.name.rpartition("-")
    if record.get("key") not in (key, folder.name) or record.get("stage", stage) != stage:
        own = "-".join(str(record[name]) for name in ("stage", "key") if name in record)
        raise Damaged(f"{folder} holds what was made for {own or 'no key'}")


def sha256(path: Path) -> str:
    """Return the digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
