"""One run of `clinlm-predict`: windows of notes are read, answered, written and committed, one after another."""

import hashlib
import logging
import shutil
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

import numpy as np

from clinlm.config import runtime
from clinlm.files.record import Record, Source
from clinlm.files.sources import STANDARD, file_identity, open_source
from clinlm.predict import formats
from clinlm.predict.answers import Said, Written
from clinlm.predict.bar import Bar
from clinlm.predict.journal import ENDING, Journal, Progress
from clinlm.predict.runner import Pending, Runner
from clinlm.predict.settings import Settings
from clinlm.predict.sink import Appended
from clinlm.predict.windows import alone, windows
from clinlm.store.content import read_record, sealed, write_json
from clinlm.store.key import digest
from clinlm.tasks.inference_config import InferenceConfig

log = logging.getLogger(__name__)

N = TypeVar("N", int, float)

OWN, SHADOW = "", "shadow_"
"""What stands before the names of what either model says."""


class Window(NamedTuple):
    """Records read together, and the answers to those that are notes, which may still be computed."""

    records: list[Record]
    pending: dict[str, Pending]


def predict(settings: Settings) -> Progress:
    """Answer every note of the input that is not answered yet; return what was done over all attempts.

    Raises:
        FileNotFoundError, ValueError: a file is missing or is not what it must be; the models have different labels.
    """
    for path in (settings.output, settings.rejects):
        if path != STANDARD and not path.parent.is_dir():
            raise FileNotFoundError(f"files are written into a folder; there is none at {path.parent}; make it first")
    source = open_source(settings.input, settings.text, settings.id)
    with ExitStack() as stack:
        if settings.resumable:
            stack.enter_context(alone(settings.output))
        else:
            log.info("standard input and output cannot be read again: if this run is stopped, it has to begin anew")
        journal = _journal(settings)
        if journal.progress.complete:
            _refuse_lost(settings)
            log.info("already complete: every record of the input is answered or rejected; nothing to do")
            return journal.progress
        if journal.progress.place != Progress().place:
            log.info("going on after line %s of the input", f"{journal.progress.place.line:,}")
        pool = ThreadPoolExecutor(settings.threads)
        stack.callback(pool.shutdown, cancel_futures=True)
        run = _Run(settings, journal, _runners(settings, pool))
        stack.callback(run.close)
        return run.over(source)


@final
class _Run:
    """Everything that a window passes through."""

    def __init__(self, settings: Settings, journal: Journal, runners: dict[str, Runner]) -> None:
        self.settings, self.journal, self.runners = settings, journal, runners
        begun = journal.progress
        self.question = runners[OWN].question
        self.output = formats.sink(settings.output, begun.output, self.question, list(runners))
        self.rejects = Appended(settings.rejects, begun.rejects_bytes)
        self.shadow = self.question.comparison(begun.shadow) if SHADOW in runners else None
        self.before, self.watch = begun.seconds, runtime.Stopwatch()

    def over(self, source: Source) -> Progress:
        """Answer what `source` still has."""
        waiting: deque[Window] = deque()
        with Bar(source.total, self.journal.progress.documents) as bar:
            # The next window is read and tokenised while the threads still compute the one before.
            for records in windows(source.records(self.journal.progress.place), self.settings.window):
                waiting.append(self._begun(records))
                if len(waiting) > 1:
                    bar.show(self._commit(waiting.popleft()))
            while waiting:
                bar.show(self._commit(waiting.popleft()))
        self.output.finish()
        if not self.journal.progress.rejects:
            self.settings.rejects.unlink()
        if self.shadow is not None and self.settings.output != STANDARD:
            write_json(self.settings.beside(".shadow.json"), self.shadow.summary())
        self.journal.complete()
        self.output.clear()
        return self.journal.progress

    def close(self) -> None:
        """Let go of the files."""
        self.output.close()
        self.rejects.close()

    def _begun(self, records: list[Record]) -> Window:
        checked = [self._refused(one) for one in records]
        texts = [one.text for one in checked if one.text is not None]
        # Texts are not needed again: the window keeps only where its records stood.
        kept = [replace(one, text="") if one.text is not None else one for one in checked]
        return Window(kept, {prefix: runner.begin(texts) for prefix, runner in self.runners.items()})

    def _refused(self, record: Record) -> Record:
        text = record.text or ""
        reason = next((why for runner in self.runners.values() if (why := runner.refuses(text))), "")
        return Record.rejected(record.line, reason, record.after, record.id) if reason else record

    def _commit(self, window: Window) -> Progress:
        said = {prefix: pending.wait() for prefix, pending in window.pending.items()}
        sound = np.all([one.sound for one in said.values()], axis=0)
        flags = iter(sound.tolist())
        answered = [one.text is not None and next(flags) for one in window.records]
        kept = list(compress(window.records, answered))
        rejects = [_rejected(one) for one, whole in zip(window.records, answered, strict=True) if not whole]
        models = {prefix: one.only(sound) for prefix, one in said.items()}
        self.output.append(self._rows(kept, models))
        self.rejects.write(b"".join(one.reject_line() for one in rejects))
        if self.shadow is not None:
            self.shadow.add(models[OWN], models[SHADOW])
        done = self.journal.progress
        progress = Progress(
            window.records[-1].after,
            self.output.position,
            self.rejects.position,
            done.documents + len(kept),
            done.rejects + len(rejects),
            _sum(done.predicted, self.question.predicted(models[OWN])),
            self.before + self.watch.seconds(),
            None if self.shadow is None else self.shadow.counts(),
            _sum(done.totals, self.question.totals(models[OWN])),
        )
        self.journal.commit(progress)
        return progress

    def _rows(self, kept: list[Record], models: dict[str, Said]) -> list[Written]:
        rows: list[Written] = [{"id": str(one.id), "line": one.line} for one in kept]
        for prefix, said in models.items():
            for row, own in zip(rows, self.question.rows(said), strict=True):
                row |= {f"{prefix}{name}": value for name, value in own.items()}
        return rows


def _sum(before: Mapping[str, N], now: Mapping[str, N]) -> dict[str, N]:
    return {name: before[name] + count if name in before else count for name, count in now.items()}


def _rejected(record: Record) -> Record:
    reason = record.reason or "the model has no answer: no token that it knows, or no finite number"
    return Record.rejected(record.line, reason, record.after, record.id)


def _runners(settings: Settings, pool: ThreadPoolExecutor) -> dict[str, Runner]:
    folders = {OWN: settings.artifact} | ({} if settings.shadow is None else {SHADOW: settings.shadow})
    found = {
        prefix: Runner(folder, settings.threads, settings.batch_tokens, pool) for prefix, folder in folders.items()
    }
    own, other = (found[prefix].question.serving for prefix in (OWN, list(found)[-1]))
    if (own.kind, own.labels) != (other.kind, other.labels):
        raise ValueError(
            f"a model and its shadow answer the same question: the same labels in the same order; artifact is "
            f"{own.kind} with {len(own.labels)} labels, shadow is {other.kind} with {len(other.labels)}, and "
            f"{len(set(own.labels) & set(other.labels))} of them are in both; set shadow to the original of artifact"
        )
    return found


def _journal(settings: Settings) -> Journal:
    models = {"artifact": settings.artifact, "shadow": settings.shadow}
    promises: dict[str, Any] = {name: None if folder is None else _identity(folder) for name, folder in models.items()}
    promises |= {name: getattr(settings, name) for name in ("text", "id", "window", "batch_tokens")}
    promises |= {"rejects": str(settings.rejects.resolve())}
    if settings.resumable:
        promises["input"] = file_identity(settings.input)
    outputs = [settings.output, settings.beside(".parts"), settings.beside(".shadow.json")]
    written = [settings.rejects, *(outputs if settings.output != STANDARD else [])]
    return Journal.opened(settings.beside(ENDING) if settings.resumable else None, promises, written)


def _identity(folder: Path) -> str:
    """Return a digest of all files of a model, from its record where it has one."""
    InferenceConfig.load(folder)  # says what is wrong with a folder that holds no model
    if sealed(folder):
        return str(read_record(folder)["digest"])
    files = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with path.open("rb") as file:
            files[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return digest(files)


def _refuse_lost(settings: Settings) -> None:
    """Raise if the output of a complete run is gone; remove what a kill at the very end left behind."""
    if not settings.output.is_file():
        raise ValueError(
            f"the run is complete, but its output is gone: there is no {settings.output}; delete "
            f"{settings.beside(ENDING)} to run again"
        )
    if settings.beside(".parts").is_dir():
        shutil.rmtree(settings.beside(".parts"))
