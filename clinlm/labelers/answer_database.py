"""Answers of one labeler in SQLite, found by the hash of a text. No text is stored."""

import hashlib
import json
import logging
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, final

from clinlm.labelers.base import LabeledNote
from clinlm.store.locks import locked
from clinlm.terminology.spans import Span

log = logging.getLogger(__name__)

NAME = "answers.sqlite"
_COSTS = [field.name for field in fields(LabeledNote)][1:]
_COLUMNS = ("sha256", "spans", *_COSTS, "crc32")
_TABLE = f"CREATE TABLE IF NOT EXISTS answers ({', '.join(_COLUMNS)}, PRIMARY KEY (sha256)) WITHOUT ROWID"
_SELECT = f"SELECT {', '.join(_COLUMNS[1:])} FROM answers WHERE sha256 = ?"
_REPLACE = f"INSERT OR REPLACE INTO answers ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_WAIT_S = 60.0


@final
class AnswerDatabase:
    """The file `answers.sqlite` of a folder: a row per text, with the sha256 of the text, the spans and their cost.

    Every answer is a transaction of its own, in write-ahead mode: a killed process loses none, a power cut the last
    ones at most. A row whose checksum is wrong counts as missing; a file that SQLite cannot read is set aside.

    Args:
        folder: of the file; it is created by the first `writing`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.damaged = False
        """Whether the file cannot be read; `writing` sets it aside."""
        self._damaged_rows: set[bytes] = set()
        self._connection: sqlite3.Connection | None = None
        if self.path.exists():
            self._connect()

    def get(self, text: str) -> LabeledNote | None:
        """Return the answer for a text; None where there is none."""
        if self._connection is None:
            return None
        key = text_hash(text)
        try:
            row = self._connection.execute(_SELECT, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            self._close_damaged(error)
            return None
        if row is None:
            return None
        spans, *costs, checksum = row
        if checksum != _checksum(key, spans, costs):
            if key not in self._damaged_rows:
                self._damaged_rows.add(key)
                log.warning("an answer in %s is damaged; the labeler is asked again", self.path)
            return None
        return LabeledNote(tuple(Span(*span) for span in json.loads(spans)), *costs)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the database against other processes that would ask the same labeler."""
        with locked(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.damaged:
                self._set_aside()
            if self._connection is None:
                self._connect()
            yield

    def keep(self, text: str, answer: LabeledNote) -> None:
        """Store an answer, on disk when this returns; only while `writing`."""
        assert self._connection is not None, "answers are kept while writing"
        key, spans = text_hash(text), json.dumps(answer.spans)
        costs = [getattr(answer, name) for name in _COSTS]
        self._connection.execute(_REPLACE, (key, spans, *costs, _checksum(key, spans, costs)))

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> None:
        self._connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(_TABLE)
            (sound,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
        except sqlite3.DatabaseError as error:
            self._close_damaged(error)

    def _close_damaged(self, error: sqlite3.DatabaseError) -> None:
        if isinstance(error, sqlite3.OperationalError):  # a lock, a full disk, missing rights: the file is sound
            raise error
        self.close()
        self.damaged = True

    def _set_aside(self) -> None:
        aside = self.folder / f"damaged-{time.time_ns()}.sqlite"
        self.path.rename(aside)
        for ending in ("-wal", "-shm"):
            self.path.with_name(f"{NAME}{ending}").unlink(missing_ok=True)
        log.warning("%s is damaged; set aside as %s; the labeler is asked again", self.path, aside.name)
        self.damaged = False


def text_hash(text: str) -> bytes:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(key: bytes, spans: str, costs: list[Any]) -> int:
    return zlib.crc32(json.dumps([key.hex(), spans, *costs]).encode())
