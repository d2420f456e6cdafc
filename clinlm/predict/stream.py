"""Streams notes from a file through a model or a labeler into a file: windows, order, rejects, commits, resuming."""

import json
import logging
import shutil
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, final

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinlm.config.console import interactive
from clinlm.config.errors import DataError, MissingFileError
from clinlm.config.runtime import Stopwatch
from clinlm.files.json_lines import read_objects
from clinlm.files.record import Record, Source
from clinlm.files.sources import STANDARD
from clinlm.predict.durable_file import AppendedFile, write_whole
from clinlm.predict.journal import ENDING, Journal, Progress
from clinlm.predict.predictions import Row
from clinlm.predict.settings import StreamSettings
from clinlm.predict.sinks import JsonLinesSink, Sink
from clinlm.store.locks import only_process

log = logging.getLogger(__name__)

WINDOW_CHARACTERS = 2**23
"""A window ends where its texts reach this length, however few they are, which limits memory."""

_SHOWN = 2

Pending = Callable[[Callable[[int], None]], Sequence[Row | None]]
"""Answers of a window that may still be computed: waits for them and returns a row per note, None where there is no
answer. Its argument may be called with the number of notes of the window that are done so far."""


class AnswerCounts(NamedTuple):
    """AnswerCounts over all notes so far, over all attempts; see `Progress`."""

    predicted: dict[str, int]
    totals: dict[str, float]
    shadow: dict[str, Any] | None = None


class Answerer(ABC):
    """Answers windows of notes. Subclasses are final.

    Attributes:
        lookahead: number of windows to begin before the first one is waited for.
        no_answer: reason in the rejects for a note without an answer.
    """

    lookahead: int = 0
    no_answer: ClassVar[str] = "no answer"

    def refuse(self, text: str) -> str:
        """Return why a text cannot be answered at all, or "" if it can."""
        return ""

    @abstractmethod
    def begin(self, notes: Sequence[Record]) -> Pending:
        """Begin to answer a window of notes, none of which is refused."""

    @abstractmethod
    def counts(self) -> AnswerCounts:
        """Return the counts over all windows that were waited for."""

    def open_sink(self, path: Path, position: int) -> Sink:
        """Return the writer of the output."""
        return JsonLinesSink(path, position)

    def reports(self) -> Mapping[str, Any]:
        """Return files to write when all notes are answered: ending after the name of the output -> JSON."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Release files and threads."""


def check_folders(settings: StreamSettings) -> None:
    """Check that the folders of the files to write exist.

    Raises:
        MissingFileError: one does not.
    """
    # A folder of rejects is made with the folder of answers.
    for path in (settings.output, settings.output if settings.per_file else settings.rejects):
        if path != STANDARD and not path.parent.is_dir():
            raise MissingFileError(f"the folder of an output must exist, got {path.parent}; make it first")


def stream(
    settings: StreamSettings,
    source: Source,
    promises: Mapping[str, Any],
    open_answerer: Callable[[Progress], Answerer],
) -> Progress:
    """Answer every note of the source that is not answered yet; return the progress over all attempts.

    Args:
        promises: settings that must be the same when the run continues, by name. JSON.
        open_answerer: returns the answerer, which continues from some progress; not called if all is answered.

    Raises:
        ConfigError, DataError: another process writes the output, or it cannot be continued.
    """
    with ExitStack() as stack:
        if settings.resumable:
            stack.enter_context(only_process(settings.output))
        else:
            log.info("standard input and output cannot be read again: if this run is stopped, it must start again")
        outputs = [settings.output, settings.beside(".parts"), settings.beside(".shadow.json")]
        written = [settings.rejects, *(outputs if settings.output != STANDARD else [])]
        path = settings.beside(ENDING) if settings.resumable else None
        promises = {**promises, "rejects": str(settings.rejects.resolve())}
        journal = Journal.opened(path, promises, written)
        begun = journal.progress
        if begun.complete:
            _clean_complete(settings)
            log.info("already complete: every record of the input is answered or rejected; nothing to do")
            return begun
        if begun.place != Progress().place:
            log.info("continuing after line %s of the input", f"{begun.place.line:,}")
        answerer = stack.enter_context(closing(open_answerer(begun)))
        output = stack.enter_context(closing(answerer.open_sink(settings.output, begun.output)))
        rejects = stack.enter_context(closing(AppendedFile(settings.rejects, begun.rejects_bytes)))
        return _Stream(settings, source, journal, answerer, output, rejects).run()


def require_answers(settings: StreamSettings, done: Progress, failed: int = 0) -> None:
    """Check that some record was answered.

    Args:
        failed: number of notes in the output whose answer is a failure.

    Raises:
        DataError: every record was rejected, or every note failed; the message has the commonest reasons.
    """
    if failed < done.documents or not done.documents + done.rejects:
        return
    files = [(settings.rejects, "reason"), *([(settings.output, "failed")] if failed else [])]
    reasons = [line[key] for path, key in files if path.is_file() for line in read_objects(path) if line.get(key)]
    kept = "" if settings.output == STANDARD else f"; repair it, delete {settings.output}*, and run it again"
    raise DataError(
        f"some record must be answered, got no answer for {done.documents + done.rejects:,} of "
        f"{done.documents + done.rejects:,}{f' ({most_common(reasons)})' if reasons else ''}{kept}"
    )


def most_common(reasons: Iterable[str]) -> str:
    """Return the most common reasons, apart from the number of attempts, and how often each is given."""
    counts = Counter(reason.partition(" (attempt ")[0] for reason in reasons)
    return "; ".join(f"{count:,} times: {reason}" for reason, count in counts.most_common(_SHOWN))


class _Window(NamedTuple):
    """Records read together, without the texts of notes, and the answers to the notes."""

    records: list[Record]
    pending: Pending


@final
class _Stream:
    """One attempt to answer what is left of a source."""

    def __init__(
        self,
        settings: StreamSettings,
        source: Source,
        journal: Journal,
        answerer: Answerer,
        output: Sink,
        rejects: AppendedFile,
    ) -> None:
        self._settings, self._source, self._journal = settings, source, journal
        self._answerer, self._output, self._rejects = answerer, output, rejects
        self._before_s, self._watch = journal.progress.seconds, Stopwatch()

    def run(self) -> Progress:
        begun, settings = self._journal.progress, self._settings
        waiting: deque[_Window] = deque()
        with ProgressBar(self._source.total, begun.documents) as bar:
            # With a lookahead, the next window is read while the workers still answer the one before.
            for records in _windows(self._source.records(begun.place), settings.window):
                waiting.append(self._begin(records))
                if len(waiting) > self._answerer.lookahead:
                    self._commit(waiting.popleft(), bar)
            while waiting:
                self._commit(waiting.popleft(), bar)
        self._output.finish()
        if not self._journal.progress.rejects:
            settings.rejects.unlink()
        if settings.output != STANDARD:
            for ending, content in self._answerer.reports().items():
                text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
                write_whole(settings.beside(ending), f"{text}\n".encode())
        self._journal.complete()
        self._output.clear()
        return self._journal.progress

    def _begin(self, records: list[Record]) -> _Window:
        checked = [self._check(record) for record in records]
        pending = self._answerer.begin([record for record in checked if record.text is not None])
        return _Window([replace(note, text="") if note.text is not None else note for note in checked], pending)

    def _check(self, record: Record) -> Record:
        reason = self._answerer.refuse(record.text) if record.text is not None else ""
        return Record.rejected(record.line, reason, record.after, record.id) if reason else record

    def _commit(self, window: _Window, bar: "ProgressBar") -> None:
        done = self._journal.progress
        answers = iter(window.pending(lambda notes: bar.show(replace(done, documents=done.documents + notes))))
        rows = [None if record.text is None else next(answers) for record in window.records]
        answered = [row is not None for row in rows]
        notes = list(compress(window.records, answered))
        kept = ({"id": note.id, "line": note.line, **row} for note, row in zip(notes, filter(None, rows), strict=True))
        rejected = [record for record, whole in zip(window.records, answered, strict=True) if not whole]
        self._output.append(list(kept))
        self._rejects.write(b"".join(self._with_reason(record).reject_line() for record in rejected))
        counts = self._answerer.counts()
        progress = Progress(
            window.records[-1].after,
            self._output.position,
            self._rejects.position,
            done.documents + len(notes),
            done.rejects + len(rejected),
            counts.predicted,
            self._before_s + self._watch.seconds(),
            counts.shadow,
            counts.totals,
        )
        self._journal.commit(progress)
        bar.show(progress)

    def _with_reason(self, record: Record) -> Record:
        reason = record.reason or self._answerer.no_answer
        return Record.rejected(record.line, reason, record.after, record.id)


@final
class ProgressBar(rich.progress.Progress):
    """A progress bar on standard error, on a terminal only.

    Args:
        total: `Position.offset` at the end, or a number of files; None where it is unknown.
        before: number of documents answered in earlier attempts, which do not count for the rate.
    """

    def __init__(self, total: int | None, before: int) -> None:
        columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
        super().__init__(*columns, console=Console(stderr=True), disable=not interactive(), transient=True)
        self._own_task = self.add_task("reading", total=total)
        self._watch, self._before = Stopwatch(), before

    def show(self, done: Progress) -> None:
        """Show the progress."""
        rate = (done.documents - self._before) / max(self._watch.seconds(), 1e-9)
        text = f"{done.documents:,} documents, {rate:,.1f} per second, {done.rejects:,} rejects"
        self.update(self._own_task, completed=done.place.offset, description=text)


def _windows(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    """Yield records in lists of `size`; fewer where their texts reach `WINDOW_CHARACTERS` before."""
    window, characters = list[Record](), 0
    for record in records:
        window.append(record)
        characters += len(record.text or "")
        if len(window) == size or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _clean_complete(settings: StreamSettings) -> None:
    """Check that the output of a complete run exists; remove what a kill at the very end left behind."""
    if not settings.output.is_file():
        raise DataError(
            f"the run is complete, but there is no {settings.output}; delete {settings.beside(ENDING)} to run again"
        )
    if settings.beside(".parts").is_dir():
        shutil.rmtree(settings.beside(".parts"))
