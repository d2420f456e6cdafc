"""The answers of one labeler, on disk: a line each, found again by the text that they are of."""

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import IO, final

from clinlm.config import runtime
from clinlm.labelers.base import Labelling
from clinlm.store.content import locked
from clinlm.terminology.spans import Span

log = logging.getLogger(__name__)

_NAME = "answers.jsonl"
_SYNC_SECONDS = 2.0
"""What a power cut can cost. A process that is killed loses nothing: every line is handed to the system at once."""


@final
class LabelJournal:
    """The file `answers.jsonl` of a folder: one line of JSON an answer, appended, never changed.

    A line holds the sha256 of the text, the spans as [start, end, label], what they cost, and a checksum; never text.
    Of several lines for one text the last counts. Where a process was killed the last line may be torn: it is cut off.

    Only where lines are is kept in memory, so that millions of answers fit.

    Args:
        folder: where it lies; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / _NAME
        self._reader: FileIO | None = None
        self._writer: IO[bytes] | None = None
        self._begin_again()
        self._catch_up()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def damaged(self) -> bool:
        """Whether a line is none; `writing` sets it aside."""
        return bool(self._damaged)

    def get(self, text: str) -> Labelling | None:
        """Return the answer for a text; None where there is none yet."""
        place = self._places.get(text_digest(text))
        if place is None or self._reader is None:
            return None
        self._reader.seek(place[0])
        found = _parsed(self._reader.read(place[1]))
        if found is None:
            raise RuntimeError(f"lines of a journal are never changed; {self.path} was, while it was read; start again")
        return found[1]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the journal against other processes; what they wrote before counts as read.

        A damaged line is set aside, with a warning, and its text counts as not answered.
        """
        with locked(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for draft in self.folder.glob(".*"):
                draft.unlink()
            self._catch_up()
            if self._damaged:
                self._set_aside()
            self._writer = self.path.open("ab")
            if self._writer.tell() > self._end:
                log.info("the last line of %s is torn, as a process left it that was killed; it is cut off", self.path)
                self._writer.truncate(self._end)
            self._catch_up()  # opens the file if it is new
            self._synced = runtime.Stopwatch()
            try:
                yield
            finally:
                os.fsync(self._writer.fileno())
                self._writer.close()
                self._writer = None

    def keep(self, text: str, answer: Labelling) -> None:
        """Append an answer; only while `writing`."""
        assert self._writer is not None, "answers are kept while writing"
        key, line = text_digest(text), _line(text, answer)
        self._writer.write(line)
        self._writer.flush()
        if self._synced.seconds() > _SYNC_SECONDS:
            os.fsync(self._writer.fileno())
            self._synced = runtime.Stopwatch()
        self._places[key] = (self._end, len(line))
        self._end += len(line)

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _begin_again(self) -> None:
        self.close()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._damaged: list[bytes] = []
        self._end = 0

    def _catch_up(self) -> None:
        """Read what was appended since, or everything where the file is another."""
        if not self.path.exists():
            return
        if self._reader is None or not os.path.samestat(os.fstat(self._reader.fileno()), self.path.stat()):
            self._begin_again()
            self._reader = self.path.open("rb", buffering=0)  # a buffer would remember what a torn line was
        with open(self._reader.fileno(), "rb", closefd=False) as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn, or still being written
                found = _parsed(line)
                if found is None:
                    self._damaged.append(line)
                else:
                    self._places[found[0]] = (self._end, len(line))
                self._end += len(line)

    def _set_aside(self) -> None:
        """Write the journal anew without its damaged lines, which go beside it."""
        aside, count = self.folder / f"damaged-{time.time_ns()}.jsonl", len(self._damaged)
        aside.write_bytes(b"".join(self._damaged))
        draft = self.path.with_name(f".{_NAME}.{os.getpid()}")
        with self.path.open("rb") as old, draft.open("wb") as new:
            new.writelines(line for line in old if line.endswith(b"\n") and _parsed(line) is not None)
            new.flush()
            os.fsync(new.fileno())
        os.replace(draft, self.path)
        log.warning(
            "%s of %s are damaged; set aside as %s; the labeler is asked again",
            f"{count:,} lines" if count > 1 else "1 line",
            self.path,
            aside.name,
        )
        self._catch_up()


def text_digest(text: str) -> bytes:
    """Return by what a text is found again."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _line(text: str, answer: Labelling) -> bytes:
    told = {"sha256": text_digest(text).hex()} | vars(answer)
    return (json.dumps(told | {"check": _check(told)}, allow_nan=False) + "\n").encode()


def _check(told: dict[str, object]) -> str:
    plain = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(plain.encode()):08x}"


def _parsed(line: bytes) -> tuple[bytes, Labelling] | None:
    """Return the digest of the text and the answer; None where the line is damaged."""
    try:
        told = json.loads(line)
        if told.pop("check") != _check(told):
            return None
        key, spans = bytes.fromhex(told.pop("sha256")), tuple(Span(*one) for one in told.pop("spans"))
        return key, Labelling(spans, **told)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
