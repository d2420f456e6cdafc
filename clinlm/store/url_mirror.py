"""A store at a URL, wherever fsspec can write: a mirror of the complete folders of a store on this machine.

What is built, locked, mapped or continued lies on this machine: object stores append, rename and lock nothing. fsspec's
own caches hold single files, and know of no folder that is whole or not. Layout:

    URL/<stage>-<key>/<sha256 of a file>     written first, by any number of hosts: the same name has the same bytes
    URL/<stage>-<key>/record.json            written last, by one request: with it the folder is whole
    URL/protocols/<stage>-<key>.json
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, final

from clinlm.config.errors import ClinlmError, ConfigError, ModelError, ServerError
from clinlm.config.extras import imported
from clinlm.config.store_url import MODELS
from clinlm.store.archive import is_plain
from clinlm.store.content import RECORD, Damaged, check_own, checked_record, read_record, verify
from clinlm.store.inventory import FOLDER, Inventory
from clinlm.store.locks import make_store

log = logging.getLogger(__name__)

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@final
@dataclass(frozen=True)
class MirroredFolder:
    """A folder of a mirror, without its record being read.

    Attributes:
        whole: whether it has a record; else its upload was stopped, or is going on.
        bytes: of all its files.
        files: name at the URL -> when it was written, as `time.time`; None where that is not told.
    """

    name: str
    whole: bool
    bytes: int
    files: Mapping[str, float | None]


@final
class UrlMirror:
    """A `clinlm.store.content.Mirror` at a URL.

    Args:
        url: of a folder, `s3://bucket/prefix`; of any protocol that fsspec knows.
        root: the store on this machine.
        upload: one of `clinlm.config.store_url.UPLOADS`.

    Raises:
        MissingExtraError: the library of the protocol is not installed.
        ConfigError: there is no such protocol.
        ServerError: the URL cannot be reached, or has no such bucket.
    """

    def __init__(self, url: str, root: Path, upload: str = MODELS) -> None:
        self.url, self.root, self._upload = url.rstrip("/"), root.absolute(), upload
        make_store(self.root)
        fsspec = imported("fsspec", "s3")
        local = url.partition("://")[0] in ("file", "local")
        try:
            self._system, self._place = fsspec.core.url_to_fs(self.url, **({"auto_mkdir": True} if local else {}))
        except OSError as error:  # some libraries connect at once
            raise ServerError(
                f"{self.url} must be reachable, got {type(error).__name__}: {error.strerror}; check the network, or "
                "set store=FOLDER"
            ) from error
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"store must be a folder, or a URL of a protocol whose library is installed, got {url} ({error}); for "
                "s3:// run pip install 'clinlm[s3]'"
            ) from error
        self._done, self._damaged, self._pending = set[str](), set[str](), dict[str, Path]()
        self._files("reached")  # of no bucket this is an error, of an empty one it is not

    def fetch(self, folder: Path, needs: Collection[str] = ()) -> None:
        """See `Mirror.fetch`."""
        try:
            if RECORD not in self._files(folder.name):
                return
            log.info("%s is taken from %s", folder.name, self.url)
            with self._draft() as draft:
                self._download(draft / folder.name, needs)
                if folder.exists():  # unfinished
                    os.rename(folder, draft / "before")
                os.rename(draft / folder.name, folder)
            self._done.add(folder.name)
        except Damaged as damage:
            self._damaged.add(folder.name)
            log.warning("%s/%s is damaged (%s); it is built again", self.url, folder.name, damage)
        except (ModelError, ServerError) as error:
            log.warning("%s; %s is built here", error, folder.name)

    def keep(self, folder: Path) -> None:
        """See `Mirror.keep`: what may hold notes is not written, unless that was asked for."""
        if folder.name in self._done or self._upload == "none":
            return
        try:
            there = {} if folder.name in self._damaged else self._files(folder.name)
            if RECORD not in there:
                if self._upload == MODELS and Inventory.without_runs(self.root).holds_text(folder.name):
                    log.info("%s stays on this machine: it may hold notes (upload=notes writes it, too)", folder.name)
                else:
                    self._send(folder, {name: facts["size"] for name, facts in there.items()})
            self._done.add(folder.name)
            self._pending.pop(folder.name, None)
        except ClinlmError as error:
            self._pending[folder.name] = folder
            log.error("%s is complete in %s, and is not written to %s: %s", folder.name, self.root, self.url, error)

    def fetch_file(self, path: Path) -> bytes | None:
        """See `Mirror.fetch_file`."""
        try:
            with self._reached(path.name):
                content: bytes = self._system.cat_file(self._at(path.parent.name, path.name))
        except Damaged:
            return None
        return content

    def keep_file(self, path: Path) -> None:
        """See `Mirror.keep_file`."""
        if self._upload == "none":
            return
        try:
            with self._reached():
                self._system.pipe_file(self._at(path.parent.name, path.name), path.read_bytes())
        except ServerError as error:
            log.error("%s is in %s, and is not written to %s: %s", path.name, self.root, self.url, error)

    def finish(self) -> None:
        """Try again what could not be written.

        Raises:
            ServerError: that fails again.
        """
        for folder in [*self._pending.values()]:
            self.keep(folder)
        if self._pending:
            raise ServerError(
                f"what is complete must be written to {self.url}, got errors (above) for {', '.join(self._pending)}; "
                f"all of it is in {self.root}: run the same command again, which writes what is not there"
            )

    def folders(self) -> list[MirroredFolder]:
        """Return what lies at the URL, by name.

        Raises:
            ServerError: it cannot be listed.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, facts in self._files("").items():
            folder, _, file = name.rpartition("/")
            if FOLDER.fullmatch(folder):
                found.setdefault(folder, {})[file] = facts
        return [
            MirroredFolder(
                name,
                RECORD in files,
                sum(facts["size"] for facts in files.values()),
                {file: _date(facts) for file, facts in files.items()},
            )
            for name, files in sorted(found.items())
        ]

    def check(self, name: str) -> None:
        """Read a whole folder, and compare it with its record.

        Raises:
            Damaged: it differs.
            ServerError: it cannot be read.
        """
        with self._draft() as draft:
            self._download(draft / name)

    def unnamed(self, folder: MirroredFolder) -> list[str]:
        """Return the files of a folder that its record does not name: of uploads that were stopped, or replaced.

        Raises:
            Damaged, ServerError: the record cannot be read.
        """
        named = {RECORD}
        if folder.whole:
            with self._draft() as draft:
                named |= {*self._record(draft / folder.name)["files"].values()}
        return sorted(folder.files.keys() - named)

    def remove(self, folder: MirroredFolder, files: Collection[str]) -> list[str]:
        """Remove files of a folder, and return which: not those that its record names now.

        Raises:
            Damaged, ServerError: the record cannot be read, or it is refused.
        """
        now = replace(folder, whole=RECORD in self._files(folder.name))  # an upload may have ended since
        free = [name for name in self.unnamed(now) if name in files]
        if free:
            with self._reached():
                self._system.rm([self._at(folder.name, name) for name in free])
        return free

    def _send(self, folder: Path, sizes: Mapping[str, int]) -> None:
        """Write the files of a folder that are not there in their size, and then its record."""
        log.info("%s is written to %s", folder.name, self.url)
        files = {digest: folder / name for name, digest in read_record(folder)["files"].items()}
        with self._reached():
            for digest, path in files.items():
                if sizes.get(digest) != path.stat().st_size:
                    self._system.put_file(str(path), self._at(folder.name, digest))
            self._system.pipe_file(self._at(folder.name, RECORD), (folder / RECORD).read_bytes())

    def _download(self, own: Path, needs: Collection[str] = ()) -> None:
        """Read a folder into a new one of the same name, and compare it with its record.

        Raises:
            Damaged: it differs.
            ServerError: it cannot be read.
        """
        try:
            for name, digest in self._record(own)["files"].items():
                if not is_plain(name) or not _DIGEST.fullmatch(str(digest)):
                    raise Damaged(f"its record names {name!r}, which is no file of a store")
                try:
                    (own / name).parent.mkdir(parents=True, exist_ok=True)
                except (FileExistsError, NotADirectoryError) as error:
                    raise Damaged(f"its record names {name!r} below a file") from error
                with self._reached(name):
                    self._system.get_file(self._at(own.name, digest), str(own / name))
            check_own(own, verify(own, needs))
        except Damaged as damage:
            raise Damaged(str(damage).replace(f"{own.parent}{os.sep}", "")) from damage

    def _record(self, own: Path) -> dict[str, Any]:
        own.mkdir(mode=0o700)
        with self._reached(RECORD):
            (own / RECORD).write_bytes(self._system.cat_file(self._at(own.name, RECORD)))
        return checked_record(own)

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """Make a folder in the store for a while; of a process that was killed, `clinlm store gc` removes it."""
        draft = Path(tempfile.mkdtemp(prefix=".import-", dir=self.root))
        try:
            yield draft
        finally:
            shutil.rmtree(draft)

    def _files(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return the files below a folder of the URL, by path, with their `size`; none where there is none.

        Raises:
            ServerError: it cannot be listed, or there is no such bucket.
        """
        place = self._at(folder).rstrip("/")
        with self._reached():
            self._system.invalidate_cache()
            found = self._system.find(place, detail=True)
        return {path.removeprefix(place).lstrip("/"): facts for path, facts in found.items()}

    def _at(self, *parts: str) -> str:
        return "/".join([self._place, *parts])

    @contextmanager
    def _reached(self, name: str = "") -> Iterator[None]:
        """Turn what the library of a protocol raises into errors of ours; each raises others.

        Args:
            name: of a file that must be there; without one, what is missing is the bucket.

        Raises:
            Damaged: it is missing.
            ServerError: anything else.
        """
        try:
            yield
        except Exception as error:
            told = str(error).partition("\n")[0] or type(error).__name__
            if isinstance(error, FileNotFoundError):
                if name:
                    raise Damaged(f"{name} is missing") from error
                raise ServerError(f"{self.url} must be in a bucket that exists, got: {told}; create it") from error
            raise ServerError(
                f"{self.url} must be reachable with the keys of this machine, got {type(error).__name__}: {told}; "
                "check the network and the keys, or set store=FOLDER"
            ) from error


def _date(facts: Mapping[str, Any]) -> float | None:
    """Return when a file was written, as `time.time`, of what the libraries call it; None where none is known."""
    date = next((facts[name] for name in ("LastModified", "mtime", "last_modified", "created") if name in facts), None)
    return date.timestamp() if isinstance(date, datetime) else date if isinstance(date, float) else None
