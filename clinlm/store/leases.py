"""Locks by files alone, for a store that several hosts share and whose file system has no `flock`.

A lock is a row of numbered files beside what it locks, `.NAME.lease-N`: the number is the fencing token. The last one
is held until `.NAME.lease-N.end` is there. All that has to be atomic is that a file is made by one process only.

- To get the lock, a process makes the next number, once the last one has ended.
- The holder writes a new count into its file, its heart-beat. Who waits, and sees none for `LEASE_S` seconds of its own
  clock, ends the lease; no two clocks are compared.
- A holder ends its own lease when it is done, and before it declares a folder complete. Who finds it ended already has
  lost it (it was stopped, or cut off), and can complete nothing: `LostLease`.
"""

import _thread
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, final

from filelock import Timeout

from clinlm.config.errors import ConfigError

log = logging.getLogger(__name__)

MARK: Final = ".leases"
"""A file in a folder that says that its locks are leases: every process on every host has to take the same kind."""
LEASE_S: Final = 60.0
"""Seconds without a heart-beat after which a lease is over."""
_BEATS: Final = 3
"""Heart-beats in that time."""
_POLL_S: Final = 0.2


class LostLease(ConfigError):
    """Another process has taken what this one was building."""


@final
class Lease:
    """A lock as `filelock.FileLock` is one, for the process that makes it.

    Args:
        lock_file: `.NAME.lock` beside what is locked; made empty, as that of another lock would be.
        clock: seconds that never go back.
        beating: whether a thread renews it; else `beat` has to be called.
    """

    def __init__(self, lock_file: Path, clock: Callable[[], float] = time.monotonic, beating: bool = True) -> None:
        self.lock_file, self._clock, self._beating = str(lock_file), clock, beating
        self._folder, self._stem = lock_file.parent, f"{lock_file.name.removesuffix('.lock')}.lease-"
        self._number, self._beats, self.lost = 0, 0, False
        self._seen, self._since = (0, b""), clock()
        self._stop = threading.Event()
        self._own = {"process": os.getpid(), "of": _processes(), "id": os.urandom(8).hex()}

    @property
    def is_locked(self) -> bool:
        """Whether this process holds the lock, as far as it knows."""
        return self._number > 0

    @property
    def token(self) -> int:
        """Number of the lease; 0 where it is not held."""
        return self._number

    def acquire(self, timeout: float = -1) -> None:
        """Take the lock, within some seconds; -1 waits forever.

        Raises:
            Timeout: another process holds it.
            OSError: files cannot be made here.
        """
        began = self._clock()
        while not self._taken():
            if 0 <= timeout <= self._clock() - began:
                raise Timeout(self.lock_file)
            time.sleep(min(_POLL_S, timeout) if timeout > 0 else _POLL_S)
        self.lost, self._beats = False, 0
        self._stop = threading.Event()
        if self._beating:
            main = threading.current_thread() is threading.main_thread()
            threading.Thread(target=self._keep, args=(self._stop, main), daemon=True).start()

    def beat(self) -> bool:
        """Renew the lease; return whether it is still held."""
        self._beats += 1
        self.lost = self.lost or not self._is_own() or self._ended(self._number)
        if not self.lost:
            with suppress(OSError):  # a full disk, a server that is away: others may take it meanwhile
                self._write(self._number)
        return not self.lost

    def end(self) -> None:
        """End the lease, before a folder is declared complete.

        Raises:
            LostLease: it was ended before, by another process.
        """
        number, self._number = self._number, 0
        self._stop.set()
        if os.getpid() != self._own["process"]:  # a fork: the lease is its parent's
            return
        if number and not self._end(number):
            self.lost = True
        if self.lost:
            raise self.loss()

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._number:
            with suppress(LostLease):
                self.end()

    def discard(self) -> None:
        """Give the lock back, and remove its files, of what nobody locks again."""
        self._number = 0
        self._stop.set()
        for path in self._folder.glob(f"{self._stem}*"):
            path.unlink(missing_ok=True)

    def loss(self) -> LostLease:
        """Return the error that tells of a lost lease."""
        name = self._stem[1:].removesuffix(".lease-")
        return LostLease(
            f"a process that builds {name} must renew its lease in {self._folder} every {LEASE_S / _BEATS:.0f} "
            f"seconds, this one was stopped or cut off for more than {LEASE_S:.0f}, and another has taken it; nothing "
            "of this one counts: run it again, which uses what the other makes"
        )

    def _taken(self) -> bool:
        last = self._last()
        if last and not self._ended(last):
            seen = (last, self._content(last))
            if seen != self._seen:
                self._seen, self._since = seen, self._clock()
            silent = self._clock() - self._since >= LEASE_S
            if not silent and not self._is_gone(seen[1]):
                return False
            if self._end_of(last) and silent:
                log.warning("%s was not renewed for %.0f s: it is taken from its holder", self._name(last), LEASE_S)
        try:
            self._write(last + 1, "x")
        except FileExistsError:
            return False
        if self._last() > last + 1:  # what was listed was old: others were here since
            self._path(last + 1).unlink(missing_ok=True)
            return False
        Path(self.lock_file).touch()
        self._number = last + 1
        self._sweep(last)
        return True

    def _sweep(self, last: int) -> None:
        """Remove older leases, each before its end: whoever still holds one misses it, and knows."""
        for number in self._numbers():
            if number < last:
                self._path(number).unlink(missing_ok=True)
                self._path(number, ".end").unlink(missing_ok=True)

    def _keep(self, stop: threading.Event, main: bool) -> None:
        while not stop.wait(LEASE_S / _BEATS):
            if not self.beat() and not stop.is_set():
                log.error("%s", self.loss())
                if main:
                    _thread.interrupt_main()
                return

    def _end(self, number: int) -> bool:
        """End the own lease; return whether it was still held."""
        return self._end_of(number) and self._is_own(number)

    def _end_of(self, number: int) -> bool:
        """End a lease; return whether it had not ended before."""
        try:
            os.close(os.open(self._path(number, ".end"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        return True

    def _ended(self, number: int) -> bool:
        return self._path(number, ".end").exists()

    def _is_own(self, number: int = 0) -> bool:
        try:
            return bool(json.loads(self._content(number or self._number))["id"] == self._own["id"])
        except (ValueError, KeyError, TypeError):
            return False

    def _is_gone(self, content: bytes) -> bool:
        """Return whether a lease is of a process of this host that is no more."""
        try:
            found: dict[str, Any] = json.loads(content)
            return bool(found["of"] == self._own["of"] != "") and not Path(f"/proc/{int(found['process'])}").exists()
        except (ValueError, KeyError, TypeError):
            return False

    def _last(self) -> int:
        return max(self._numbers(), default=0)

    def _numbers(self) -> list[int]:
        named = re.compile(re.escape(self._stem) + r"(\d+)")
        return sorted(int(found[1]) for name in os.listdir(self._folder) if (found := named.fullmatch(name)))

    def _content(self, number: int) -> bytes:
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return b""

    def _write(self, number: int, mode: str = "r+") -> None:
        with self._path(number).open(mode, encoding="utf-8") as file:
            file.write(json.dumps({**self._own, "beat": self._beats}))

    def _path(self, number: int, end: str = "") -> Path:
        return self._folder / f"{self._name(number)}{end}"

    def _name(self, number: int) -> str:
        return f"{self._stem}{number}"


def _processes() -> str:
    """Return what names the space of process ids that this one is in: of a start of a host, and of a container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # another system
        return ""
