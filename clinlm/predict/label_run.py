"""One run of `clinlm-label`: windows of notes are read, labelled, written and committed, one after another."""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, final

from hydra.utils import instantiate

from clinlm.config import runtime
from clinlm.corpora.base import Corpus
from clinlm.corpora.table import Table
from clinlm.files.record import Record, Source
from clinlm.files.sources import STANDARD, file_identity, open_source
from clinlm.labelers.answer_cache import AnswerCache, labeler_key
from clinlm.labelers.base import LabeledNote, Labeler, LabelTotals, Note
from clinlm.labelers.remote import refuse_remote
from clinlm.predict.bar import Bar
from clinlm.predict.corpus_source import CorpusSource
from clinlm.predict.journal import ENDING, Journal, Progress
from clinlm.predict.label_settings import Settings
from clinlm.predict.sink import Appended
from clinlm.predict.windows import alone, windows
from clinlm.store.key import digest

log = logging.getLogger(__name__)


def label(settings: Settings) -> Progress:
    """Label every note that is not labelled yet; return what was done over all attempts.

    Raises:
        FileNotFoundError, ValueError: a file is missing or is not what it must be; notes may not be sent where the
            labeler sends them; the labeler repeats people, and none labelled the notes.
        LabelingStopped: a labeler may not spend more; the message says how to go on.
    """
    for path in (settings.output, settings.rejects):
        if path != STANDARD and not path.parent.is_dir():
            raise FileNotFoundError(f"files are written into a folder; there is none at {path.parent}; make it first")
    labeler: Labeler = instantiate(settings.labeler)
    corpus = _corpus(settings)
    refuse_remote(labeler, corpus)
    with ExitStack() as stack:
        if settings.resumable:
            stack.enter_context(alone(settings.output))
        else:
            log.info(
                "standard input and output cannot be read again: answers are kept, but all of them are written anew"
            )
        source = _source(settings, corpus)
        if labeler.needs_people and not (isinstance(source, CorpusSource) and source.people):
            raise ValueError(
                "a labeler that repeats people needs a corpus that they labelled; these notes have no spans; set "
                "corpus=NAME root=PLACE to one that has, or take another labeler"
            )
        journal = _journal(settings, labeler, corpus)
        if journal.progress.complete:
            _refuse_lost(settings)
            log.info("already complete: every record of the input is labelled or rejected; nothing to do")
            return journal.progress
        if journal.progress.place != Progress().place:
            log.info("going on after line %s of the input", f"{journal.progress.place.line:,}")
        run = _Run(settings, journal, labeler, source)
        stack.callback(run.close)
        return run.over()


@final
class _Run:
    """Everything that a window passes through."""

    def __init__(self, settings: Settings, journal: Journal, labeler: Labeler, source: Source) -> None:
        self.settings, self.journal, self.labeler, self.source = settings, journal, labeler, source
        begun = journal.progress
        self.answers = AnswerCache(settings.store, settings.again)
        self.output = Appended(None if settings.output == STANDARD else settings.output, begun.output)
        self.rejects = Appended(settings.rejects, begun.rejects_bytes)
        self.tally = LabelTotals(begun.documents, Counter(begun.predicted), **begun.totals)  # type: ignore[arg-type]
        self.before, self.watch = begun.seconds, runtime.Stopwatch()
        self.leaves = len(leaves(labeler))

    def over(self) -> Progress:
        """Label what the source still has."""
        with Bar(self.source.total, self.journal.progress.documents) as bar:
            for records in windows(self.source.records(self.journal.progress.place), self.settings.window):
                bar.show(self._commit(records, bar))
        if not self.journal.progress.rejects:
            self.settings.rejects.unlink()
        self.journal.complete()
        return self.journal.progress

    def close(self) -> None:
        """Let go of the files."""
        for one in (self.output, self.rejects, self.answers):
            one.close()

    def _commit(self, records: Sequence[Record], bar: Bar) -> Progress:
        kept = [one for one in records if one.text is not None]
        done, asked = self.journal.progress, 0

        def step(labeler: Labeler, number: int, total: int, answer: LabeledNote) -> None:
            nonlocal asked
            asked += 1
            bar.show(replace(done, documents=done.documents + asked // self.leaves))

        answers = self.answers.label(self.labeler, self._notes(kept), step)
        lines = [self._line(record, answer) for record, answer in zip(kept, answers, strict=True)]
        self.output.write(b"".join(lines))
        self.rejects.write(b"".join(one.reject_line() for one in records if one.text is None))
        for answer in answers:
            self.tally.add(answer)
        totals = dict(vars(self.tally))
        progress = Progress(
            records[-1].after,
            self.output.position,
            self.rejects.position,
            totals.pop("notes"),
            done.rejects + len(records) - len(kept),
            dict(totals.pop("spans")),
            self.before + self.watch.seconds(),
            totals=totals,
        )
        self.journal.commit(progress)
        return progress

    def _notes(self, records: Sequence[Record]) -> list[Note]:
        texts = [str(one.text) for one in records]
        if isinstance(self.source, CorpusSource) and self.source.people:
            return list(map(Note, texts, self.source.human([one.line for one in records])))
        return list(map(Note, texts))

    def _line(self, record: Record, answer: LabeledNote) -> bytes:
        spans: list[dict[str, Any]] = [one._asdict() for one in answer.spans]
        if self.settings.span_texts:
            spans = [one | {"text": str(record.text)[one["start"] : one["end"]]} for one in spans]
        told = {"id": record.id, "line": record.line, "spans": spans, "failed": answer.failed or None}
        return (json.dumps(told, ensure_ascii=False) + "\n").encode()


def leaves(labeler: Labeler) -> list[Labeler]:
    """Return the labelers that read notes themselves: itself, or those of a combination."""
    return [leaf for part in labeler.parts for leaf in leaves(part)] or [labeler]


def _corpus(settings: Settings) -> Corpus:
    """The corpus, or the file as one; nothing is read."""
    if settings.corpus is None:
        assert settings.input is not None, "one of them is there"
        return Table(settings.input, settings.text, None, settings.id)
    corpus: Corpus = instantiate(settings.corpus)(root=None if settings.root is None else str(settings.root))
    return corpus


def _source(settings: Settings, corpus: Corpus) -> Source:
    if settings.input is not None:
        return open_source(settings.input, settings.text, settings.id)
    log.info("reading the corpus")
    records = corpus.records()
    for notice in records.notices:
        log.info("%s", notice)
    return CorpusSource(records)


def _journal(settings: Settings, labeler: Labeler, corpus: Corpus) -> Journal:
    promises: dict[str, Any] = {"labeler": labeler_key(labeler), "span_texts": settings.span_texts}
    promises |= {"rejects": str(settings.rejects.resolve())}
    if settings.corpus is not None:
        promises |= {"corpus": digest([settings.corpus, corpus.fingerprint()])}
    elif settings.resumable and settings.input is not None:
        promises |= {"text": settings.text, "id": settings.id, "input": file_identity(settings.input)}
    written = [settings.rejects, *([settings.output] if settings.output != STANDARD else [])]
    return Journal.opened(settings.beside(ENDING) if settings.resumable else None, promises, written)


def _refuse_lost(settings: Settings) -> None:
    if not settings.output.is_file():
        raise ValueError(
            f"the run is complete, but its output is gone: there is no {settings.output}; delete "
            f"{settings.beside(ENDING)} to run again"
        )
