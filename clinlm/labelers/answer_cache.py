"""Cached answers of labelers: a labeler is asked only for what the store does not have."""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinlm.config.console import interactive
from clinlm.config.errors import ModelError
from clinlm.config.runtime import Stopwatch
from clinlm.corpora.base import Corpus
from clinlm.labelers.answer_database import AnswerDatabase, text_hash
from clinlm.labelers.base import UNANSWERED, LabeledNote, Labeler, LabelingStopped, LabelTotals, Note
from clinlm.labelers.combination import Combination
from clinlm.labelers.remote import refuse_remote
from clinlm.store.key import cache_key

log = logging.getLogger(__name__)

_VERSION = 2
"""Format of the stored answers."""

Watch = Callable[[Labeler, int, int, LabeledNote], None]
"""Called after each new answer: with its labeler, its number, the number of answers requested, and the answer."""


def labeler_key(labeler: Labeler) -> str:
    """Return the hash of all that the answers of a labeler depend on besides the text: settings, files and code."""
    classes = [_class_path(labeler), *map(_class_path, _own_attributes(labeler))]
    parts = [labeler_key(part) for part in labeler.parts]
    return cache_key(None, _VERSION, classes[0], labeler.fingerprint(), parts, code=classes)


def _own_attributes(labeler: Labeler) -> list[object]:
    """Return the attributes of a labeler that are classes of ours, such as vocabularies: their code counts."""
    values = vars(labeler).values()
    flat = [item for value in values for item in (value.values() if isinstance(value, Mapping) else [value])]
    return [item for item in flat if type(item).__module__.startswith("clinlm.")]


def _class_path(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


@final
class AnswerCache:
    """Answers in the folders `labels-<key>` of a store, one per labeler, found by the text of a note.

    Answers of a combination are computed from those of its labelers, each time, and the spans of people are part of the
    corpus: neither is stored. So two combinations share their labelers' answers, and a text that occurs twice is
    requested once. Answers are stored one by one: a run that was killed, or stopped by a budget, continues from there.
    While one process asks a labeler others wait for it, and then ask for what is still missing.

    Args:
        again: whether to ask a labeler again where it failed before; the earlier cost is added. A note without an
            answer because a run was stopped is requested in any case.
    """

    def __init__(self, root: Path, again: bool = False) -> None:
        self.root, self.again = root, again
        self._databases: dict[int, tuple[Labeler, AnswerDatabase]] = {}
        self._asked_again: set[bytes] = set()

    def label(self, labeler: Labeler, notes: Sequence[Note], watch: Watch) -> list[LabeledNote]:
        """Return one result per note, in order. Notes with the same text report the cost of their answer each.

        Raises:
            LabelingStopped: a labeler reached a limit; the message says how to continue.
            ModelError: a labeler breaks a promise of `Labeler.label`.
        """
        if isinstance(labeler, Combination):
            each = [self.label(part, notes, watch) for part in labeler.parts]
            return [labeler.combine(results) for results in zip(*each, strict=True)]
        if labeler.needs_people:
            return [answer for _, answer in _checked_answers(labeler, notes)]
        database = self._database(labeler)
        found = {note.text: database.get(note.text) for note in notes}
        if database.damaged or any(self._is_missing(text, answer) for text, answer in found.items()):
            with database.writing():
                self._fill(found, database, labeler, watch)
        return [answer for note in notes if (answer := found[note.text]) is not None]

    def close(self) -> None:
        """Close the files."""
        for _, database in self._databases.values():
            database.close()

    def _database(self, labeler: Labeler) -> AnswerDatabase:
        """Return the database of a labeler; its key is computed once, since it may need all bytes of an ontology."""
        if id(labeler) not in self._databases:
            self._databases[id(labeler)] = labeler, AnswerDatabase(self.root / f"labels-{labeler_key(labeler)}")
        return self._databases[id(labeler)][1]

    def _is_missing(self, text: str, answer: LabeledNote | None) -> bool:
        if answer is None or answer.failed == UNANSWERED:
            return True
        return self.again and bool(answer.failed) and text_hash(text) not in self._asked_again

    def _fill(
        self, found: dict[str, LabeledNote | None], database: AnswerDatabase, labeler: Labeler, watch: Watch
    ) -> None:
        """Request the answers that `found` lacks and that no other process has stored meanwhile."""
        for text, answer in found.items():
            found[text] = database.get(text) if self._is_missing(text, answer) else answer
        missing = [Note(text) for text, answer in found.items() if self._is_missing(text, answer)]
        number = 0
        try:
            for number, (note, answer) in enumerate(_checked_answers(labeler, missing), 1):
                before = found[note.text]
                if before is not None:
                    answer = _add_cost(answer, before)
                    self._asked_again.add(text_hash(note.text))
                database.keep(note.text, answer)
                found[note.text] = answer
                watch(labeler, number, len(missing), answer)
        except LabelingStopped as stopped:
            raise LabelingStopped(
                f"{stopped}; {number:,} of {len(missing):,} requested notes are answered and kept in "
                f"{database.folder}; the same command continues from there"
            ) from stopped


def label_notes(
    labeler: Labeler, notes: Sequence[Note], root: Path, corpus: Corpus, again: bool = False
) -> list[LabeledNote]:
    """Return one result per note, in order, from the store or from the labeler; log a line with totals and cost.

    Args:
        root: of the store; see `AnswerCache`.
        corpus: of the notes; it decides whether they may be sent anywhere.
        again: whether to ask again for notes that failed in an earlier run.

    Raises:
        ConfigError: the labeler would send notes to an outside service against the rules.
        LabelingStopped: a budget is used up; the answers so far are kept.
    """
    refuse_remote(labeler, corpus)
    every, new = LabelTotals(), LabelTotals()
    with closing(AnswerCache(root, again)) as cache, _progress_bar() as bar:
        tasks = {}

        def watch(labeler: Labeler, number: int, total: int, answer: LabeledNote) -> None:
            new.add(answer)
            if number == 1:
                tasks[id(labeler)] = bar.add_task(type(labeler).__name__, total=total, rate=0.0), Stopwatch()
            task, stopwatch = tasks[id(labeler)]
            bar.update(task, completed=number, rate=number / max(stopwatch.seconds(), 1e-9))

        found = cache.label(labeler, notes, watch)
    for note in found:
        every.add(note)
    cost = f"{new.notes:,} new answers took {new.describe_cost()}" if new.notes else "all answers were cached"
    log.info("%s; %s", every.describe(), cost)
    return found


def _progress_bar() -> Progress:
    """Return a bar with a line per labeler, on a terminal only."""
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[rate]:,.1f} per second"), TimeElapsedColumn(), TimeRemainingColumn()),
        console=Console(stderr=True),
        disable=not interactive(),
        transient=True,
    )


def _checked_answers(labeler: Labeler, notes: Sequence[Note]) -> Iterator[tuple[Note, LabeledNote]]:
    """Yield every note with its answer, after checking the promises of a labeler."""
    answers = labeler.label(notes)
    with ExitStack() as stack:
        if isinstance(answers, Generator):
            stack.callback(answers.close)  # so that it stops asking when an error is raised here
        for note in notes:
            answer = next(answers, None)
            if answer is None:
                raise ModelError(f"a labeler must answer every note, but {type(labeler).__name__} ended early")
            _check_spans(labeler, answer, len(note.text))
            yield note, answer
        if next(answers, None) is not None:  # a labeler that ended early raises its reason here
            raise ModelError(f"a labeler must answer every note once, but {type(labeler).__name__} gave more answers")


def _check_spans(labeler: Labeler, answer: LabeledNote, length: int) -> None:
    ends = [0, *(span.end for span in answer.spans)]
    starts = [*(span.start for span in answer.spans), length]
    apart = all(end <= start for end, start in zip(ends, starts, strict=True))
    if not apart or any(span.start >= span.end for span in answer.spans) or (answer.failed and answer.spans):
        raise ModelError(
            f"a labeler must return sorted, non-overlapping spans within the text, and none where it failed; "
            f"{type(labeler).__name__} returned others; use clinlm.terminology.spans.check_spans and flatten"
        )


def _add_cost(answer: LabeledNote, before: LabeledNote) -> LabeledNote:
    """Return the answer with the cost of an earlier, failed one added."""
    return replace(
        answer,
        seconds=answer.seconds + before.seconds,
        prompt_tokens=answer.prompt_tokens + before.prompt_tokens,
        completion_tokens=answer.completion_tokens + before.completion_tokens,
        retries=answer.retries + before.retries + 1,
    )
