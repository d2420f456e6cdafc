"""Locks of what is built in the store, who holds them, and who may read it."""

import errno
import json
import logging
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from clinlm.config.errors import ConfigError
from clinlm.store import leases
from clinlm.store.leases import Lease, LostLease

try:
    import fcntl
except ImportError:  # Windows, whose locks are others
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

_OF_A_STORE = re.compile(r".+-[0-9a-f]{12}(\..+)?|\..+|code\.json|plans|protocols|latencies|synthetic|uses")
"""Names of what clinlm makes in a store."""
_LOOK_S, _AGAIN_S = 2.0, 60.0
"""Seconds between two looks at the holder of a lock that is waited for, and between two lines about it."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that locks no files."""


_DEEP = 3
"""Folders, from that of a lock upward, that may say which locks are used."""
_leases: dict[Path, Lease] = {}
"""What this process holds by a lease -> the lease."""


def acquire(lock: FileLock | Lease, timeout_s: float = -1) -> None:
    """Acquire a lock, within some seconds; -1 waits forever.

    Raises:
        Timeout: another process holds it.
        ConfigError: the file system locks no files, as some that are mounted from elsewhere do not.
    """
    try:
        lock.acquire(timeout=timeout_s)
    except (OSError, NotImplementedError) as error:  # the second of older versions of filelock, for ENOSYS
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        raise ConfigError(
            f"files must be lockable, so that no two processes write the same ones, and {Path(lock.lock_file).parent} "
            f"lies on a file system that locks none ({error}); choose a folder on another disk, or mount it with locks"
        ) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a file or folder that need not exist yet; say who holds it while it is waited for.

    What is there already can be read without a lock where none can be made: of a store that cannot be written.

    Raises:
        ConfigError: the store cannot be written, and has no `path`; see also `acquire`.
    """
    make_store(path.parent)
    lock, holder = _beside(path)
    try:
        acquire(lock, 0)
    except Timeout:
        _wait(lock, holder, path.name)
    except OSError:
        if writable(path.parent):
            raise
        require_writable(path, path.exists())
    with _held(lock, holder) if lock.is_locked else nullcontext(), _as_lease(lock, path):
        yield


def end_lease(path: Path) -> None:
    """End the lease of `path`, if this process holds it by one: what follows makes it complete.

    Raises:
        LostLease: another process has taken it meanwhile.
    """
    if path.absolute() in _leases:
        _leases[path.absolute()].end()


def require_lease(path: Path) -> None:
    """Check, where this process holds `path` by a lease, that no other has taken it.

    Raises:
        LostLease: one has.
    """
    lease = _leases.get(path.absolute())
    if lease is not None and not lease.beat():
        raise lease.loss()


def lease_token(path: Path) -> int:
    """Return the number of the lease by which this process holds `path`; 0 for none."""
    return _leases[path.absolute()].token if path.absolute() in _leases else 0


@contextmanager
def _as_lease(lock: FileLock | Lease, path: Path) -> Iterator[None]:
    """Note what is held by a lease; what ends the work because it was lost is told as that."""
    if not isinstance(lock, Lease):
        yield
        return
    _leases[path.absolute()] = lock
    try:
        yield
    except BaseException as error:
        if lock.lost and not isinstance(error, LostLease):
            raise lock.loss() from error
        raise
    finally:
        del _leases[path.absolute()]


@contextmanager
def if_free(path: Path) -> Iterator[bool]:
    """Hold the lock of `path`, and yield true; yield false where another process holds it, or none can be made."""
    lock, _ = _beside(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which one process may write; remove the lock at the end.

    Raises:
        ConfigError: another process holds it; see also `acquire`.
    """
    lock, holder = _beside(path)
    try:
        acquire(lock, 0)
    except Timeout:
        raise ConfigError(
            f"only one process can write {path}, and {_holder(holder)} is writing it; set another output"
        ) from None
    with _held(lock, holder):
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            if isinstance(lock, Lease):
                lock.discard()


def _beside(path: Path) -> tuple[FileLock | Lease, Path]:
    file = path.with_name(f".{path.name}.lock")
    return Lease(file) if _by_lease(file) else FileLock(file), path.with_name(f".{path.name}.holder")


def _by_lease(file: Path) -> bool:
    """Return whether locks of a folder are leases: it says so, or its file system has no `flock`, and it says so then.

    Processes of other hosts, to which the same folder may look as if it had it, take the same kind.
    """
    mark = file.parent / leases.MARK
    # Of a store it holds for the folders in it, too: FOLDER/tokens, FOLDER/logits.
    if any((folder / leases.MARK).exists() for folder in [*file.absolute().parents][:_DEEP]):
        return True
    if fcntl is None or file.parent in _with_flock or not writable(file.parent):
        return False
    try:
        with file.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            return False
        log.warning("%s lies on a file system that locks no files (%s): leases are used", file.parent, error.strerror)
        mark.touch()
        return True
    _with_flock.add(file.parent)
    return False


_with_flock: set[Path] = set()
"""Folders in which `flock` works."""


@contextmanager
def _held(lock: FileLock | Lease, holder: Path) -> Iterator[None]:
    """Write down who holds a lock, and release it in the end."""
    try:
        with suppress(OSError):  # a full disk: only what others are told
            holder.write_text(json.dumps([socket.gethostname(), os.getpid(), f"{datetime.now(UTC):%F %T} UTC"]))
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def writable(folder: Path) -> bool:
    """Return whether files can be made in a folder: its rights allow it, and it is not mounted read-only."""
    return os.access(folder, os.W_OK)


def require_writable(path: Path, there: bool) -> None:
    """Check that `path` is there, or can be built.

    Raises:
        ConfigError: neither.
    """
    if not there and not writable(path.parent):
        raise ConfigError(
            f"a store that cannot be written must have all that is needed, got {path.parent} without a complete "
            f"{path.name}; set store to a folder that you may write, or build it there first"
        )


def make_store(folder: Path) -> None:
    """Make the folder of a store, if it is not there, and let nobody but its owner into it: see `make_private`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(folder)


def make_private(folder: Path) -> None:
    """Let nobody but its owner into a store, whoever made it and with whatever rights.

    A folder that is more than a store (it holds other things), or is shared on purpose (it gives its group to what is
    made in it, or is everybody's), stays as it is: the folders in it that are made here are private.
    """
    facts = folder.stat()
    shared = facts.st_mode & (stat.S_ISGID | stat.S_ISVTX)
    if os.name == "nt" or not facts.st_mode & 0o077 or shared or facts.st_uid != os.getuid():
        return
    if not all(map(_OF_A_STORE.fullmatch, os.listdir(folder))):
        return
    with suppress(OSError):  # read-only
        folder.chmod(0o700)
        log.info("others could look into %s, which is made of notes: it is open to its owner only now", folder)


def _wait(lock: FileLock | Lease, holder: Path, name: str) -> None:
    """Wait for a lock; tell who holds it at once, every minute, and when that changes."""
    told, left = "", 0.0
    while not lock.is_locked:
        found = _holder(holder)
        if found != told or left <= 0:
            log.info("waiting for %s, which is building %s", found, name)
            told, left = found, _AGAIN_S
        left -= _LOOK_S
        with suppress(Timeout):
            lock.acquire(timeout=_LOOK_S)


def _holder(path: Path) -> str:
    """Return who holds a lock, in words."""
    try:
        host, process, since = json.loads(path.read_text(encoding="utf-8"))
        told = f"process {int(process)} on {host} (since {since})"
    except (OSError, ValueError, TypeError):
        return "another process"
    if host != socket.gethostname():
        return told
    with suppress(OSError):  # no /proc
        facts = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
        if facts.rpartition(")")[2].split()[0] in "Tt":
            return f"{told}, which is stopped (kill -CONT {process} lets it go on; kill {process} frees the lock)"
    return told
