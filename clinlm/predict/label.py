"""The command `clinlm label labeler=ontology labeler.root=FILE input=FILE output=FILE`."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, final

from rich.console import Console

from clinlm.config.console import make_console
from clinlm.config.errors import ConfigError
from clinlm.config.targets import instantiate
from clinlm.corpora.base import Corpus, Records
from clinlm.corpora.table import Table
from clinlm.files.record import Position, Record, Source
from clinlm.files.sources import STANDARD, file_identity, open_source
from clinlm.labelers.answer_cache import AnswerCache, labeler_key
from clinlm.labelers.base import LabeledNote, Labeler, LabelTotals, Note
from clinlm.labelers.remote import refuse_remote
from clinlm.predict.journal import Progress
from clinlm.predict.predictions import Row
from clinlm.predict.settings import LabelSettings
from clinlm.predict.shard_run import run_job, run_shards
from clinlm.predict.stream import AnswerCounts, Answerer, Pending, check_folders, most_common, require_answers, stream
from clinlm.predict.tool_rows import TOOLS
from clinlm.store.key import digest
from clinlm.terminology.spans import Span

log = logging.getLogger(__name__)


def label_command(arguments: list[str]) -> None:
    """Run `clinlm label`."""
    settings = LabelSettings.of(arguments)
    done = label_files(settings) if settings.per_file else label_file(settings)
    _show(settings, done)
    require_answers(settings, done, _read_totals(done).failed)


def label_files(settings: LabelSettings) -> Progress:
    """Label every file of the input that is not labeled yet, one after the other; see `run_shards`."""
    labeler: Labeler = instantiate(settings.labeler)
    promises = _promises(settings, labeler) | {"text": settings.text, "id": settings.id, "encoding": settings.encoding}
    done = run_shards(
        *(settings, promises, partial(label_file, labeler=labeler)),
        lambda jobs: ((job, run_job(job)) for job in jobs),
    )
    return done.done


def label_file(settings: LabelSettings, labeler: Labeler | None = None) -> Progress:
    """Label every note that is not labeled yet; return the progress over all attempts.

    Args:
        labeler: that of the settings, where it is open already.

    Raises:
        ConfigError, DataError: a file is missing or malformed; notes may not be sent where the labeler sends them; the
            labeler uses spans of people, and there are none.
        LabelingStopped: a labeler reached a limit; the message says how to continue.
    """
    check_folders(settings)
    labeler = instantiate(settings.labeler) if labeler is None else labeler
    assert isinstance(labeler, Labeler)
    corpus = _open_corpus(settings)
    refuse_remote(labeler, corpus)
    source = _open_source(settings, corpus)
    people = source.human if isinstance(source, CorpusSource) and source.has_people else None
    if labeler.needs_people and people is None:
        raise ConfigError(
            "a labeler that uses spans of people needs a corpus that has them; these notes have no spans; set "
            "corpus=NAME root=PATH to one that has, or choose another labeler"
        )
    promises = _promises(settings, labeler)
    if settings.corpus is not None:
        promises |= {"corpus": digest([settings.corpus, corpus.fingerprint()])}
    elif settings.resumable and settings.input is not None:
        promises |= {"text": settings.text, "id": settings.id, "input": file_identity(settings.input)}
        promises |= {} if settings.encoding is None else {"encoding": settings.encoding}
    done = stream(settings, source, promises, lambda begun: LabelerAnswerer(settings, labeler, people, begun))
    for notice in labeler.notices:
        log.info("%s", notice)
    return done


def _promises(settings: LabelSettings, labeler: Labeler) -> dict[str, Any]:
    promises: dict[str, Any] = {"labeler": labeler_key(labeler), "span_texts": settings.span_texts}
    return promises | ({} if settings.tool is None else {"tool": settings.tool})


@final
class LabelerAnswerer(Answerer):
    """Answers notes with a labeler, from the store where it has answered them before.

    Args:
        people: returns the spans that people gave the notes on some lines; None where there are none.
    """

    def __init__(
        self,
        settings: LabelSettings,
        labeler: Labeler,
        people: Callable[[Sequence[int]], list[tuple[Span, ...]]] | None,
        begun: Progress,
    ) -> None:
        self._labeler, self._people, self._span_texts = labeler, people, settings.span_texts
        self._tool = None if settings.tool is None else TOOLS[settings.tool]
        self._cache = AnswerCache(settings.store, settings.again)
        self._totals = _read_totals(begun)
        self._failures: list[str] = []

    def begin(self, notes: Sequence[Record]) -> Pending:
        """See `Answerer.begin`: the labeler is asked when the window is waited for."""
        return lambda report: self._label(notes, report)

    def counts(self) -> AnswerCounts:
        totals = dict(vars(self._totals))
        del totals["notes"]
        return AnswerCounts(dict(totals.pop("spans")), totals)

    def close(self) -> None:
        self._cache.close()
        if self._failures:
            log.info("%d notes failed; %s", len(self._failures), most_common(self._failures))

    def _label(self, records: Sequence[Record], report: Callable[[int], None]) -> list[Row | None]:
        texts = [str(record.text) for record in records]
        notes = list(map(Note, texts))
        if self._people is not None:
            notes = list(map(Note, texts, self._people([record.line for record in records])))
        answers, leaves = 0, len(_leaves(self._labeler))

        def count(labeler: Labeler, number: int, total: int, answer: LabeledNote) -> None:
            nonlocal answers
            answers += 1
            report(answers // leaves)

        labeled = self._cache.label(self._labeler, notes, count)
        for answer in labeled:
            self._totals.add(answer)
            self._failures += [answer.failed] if answer.failed else []
        return [self._row(text, answer) for text, answer in zip(texts, labeled, strict=True)]

    def _row(self, text: str, answer: LabeledNote) -> Row:
        if self._tool is not None:
            # Without it a note that has no answer would look like one without entities.
            return self._tool(text, answer.spans) | ({"failed": answer.failed} if answer.failed else {})
        spans: list[dict[str, Any]] = [span._asdict() for span in answer.spans]
        if self._span_texts:
            spans = [span | {"text": text[span["start"] : span["end"]]} for span in spans]
        return {"spans": spans, "failed": answer.failed or None}


@final
class CorpusSource(Source):
    """Notes of a corpus, one per record, in order; records count as lines."""

    def __init__(self, records: Records) -> None:
        self._frame = records.frame
        self.total = self._frame.height

    @property
    def has_people(self) -> bool:
        """Return whether people labeled the notes."""
        return "spans" in self._frame.columns

    def records(self, start: Position) -> Iterator[Record]:
        rows = self._frame.select("id", "text").slice(start.offset)
        for row, (id, text) in enumerate(rows.iter_rows(), start.offset + 1):
            yield Record.checked(row, id, text, Position(row, row), True)

    def human(self, lines: Sequence[int]) -> list[tuple[Span, ...]]:
        """Return the spans that people gave the notes on these lines."""
        column = self._frame["spans"]
        return [tuple(Span(span["start"], span["end"], span["label"]) for span in column[line - 1]) for line in lines]


def _leaves(labeler: Labeler) -> list[Labeler]:
    """Return the labelers that read notes themselves: itself, or those of a combination."""
    return [leaf for part in labeler.parts for leaf in _leaves(part)] or [labeler]


def _open_corpus(settings: LabelSettings) -> Corpus:
    """Return the corpus, or the file as one; nothing is read."""
    if settings.corpus is None:
        assert settings.input is not None, "one of them is set"
        return Table(settings.input, settings.text, None, settings.id, encoding=settings.encoding)
    corpus: Corpus = instantiate(settings.corpus)(root=None if settings.root is None else str(settings.root))
    return corpus


def _open_source(settings: LabelSettings, corpus: Corpus) -> Source:
    if settings.input is not None:
        return open_source(settings.input, settings.text, settings.id, settings.encoding)
    log.info("reading the corpus")
    records = corpus.records()
    for notice in records.notices:
        log.info("%s", notice)
    return CorpusSource(records)


def _read_totals(done: Progress) -> LabelTotals:
    return LabelTotals(done.documents, Counter(done.predicted), **done.totals)  # type: ignore[arg-type]


def _show(settings: LabelSettings, done: Progress) -> None:
    console = Console(stderr=True, width=120) if settings.output == STANDARD else make_console()
    totals = _read_totals(done)
    lines = {
        "labeled": totals.describe(),
        "took": f"{done.seconds:,.1f} s, {done.documents / max(done.seconds, 1e-9):,.1f} notes per second",
        "cost": f"{totals.describe_cost()} of the labelers, cached answers included",
        "rejects": f"{done.rejects:,}{f', see {settings.rejects}' if done.rejects else ''}",
    }
    if settings.output != STANDARD:
        lines["output"] = str(settings.output)
    for name, line in lines.items():
        console.print(f"{name:<10} {line}", soft_wrap=True, markup=False, highlight=False)
