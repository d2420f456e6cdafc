"""The answers that labelers gave, in the store: a labeler is asked for those that are not there."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import final

from clinlm.labelers.base import UNANSWERED, Labeler, Labelling, Note, Stopped
from clinlm.labelers.combination import Combination
from clinlm.labelers.journal import LabelJournal, text_digest
from clinlm.store.key import digest, sources

_VERSION = 1
"""Of what the answers are kept in; another finds none."""

Watch = Callable[[Labeler, int, int, Labelling], None]
"""Called after every answer that is given now: by which labeler, its number, of how many asked for, and the answer."""


def key(labeler: Labeler) -> str:
    """Return the hash of all that the answers of a labeler depend on, beside the note: settings, files and code."""
    classes = [_named(labeler), *map(_named, _held(labeler))]
    code = sources([{"_target_": one} for one in classes])
    return digest([_VERSION, classes[0], labeler.fingerprint(), code, [key(part) for part in labeler.parts]])


def _held(labeler: Labeler) -> list[object]:
    """What of ours a labeler was given, such as the vocabularies of an ontology: their code counts."""
    values = vars(labeler).values()
    every = [one for value in values for one in (value.values() if isinstance(value, Mapping) else [value])]
    return [one for one in every if type(one).__module__.startswith("clinlm.")]


def _named(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


@final
class LabelStore:
    """Answers in the folders `labels-<key>` of a store, one a labeler, found again by the text of a note.

    Those of a combination are computed from those of its labelers, each time, and what people said stands in the
    corpus: neither is kept. So two combinations ask nobody twice, and a text that comes twice is asked for once.
    Answers are kept one by one: a run that was killed, or stopped by a budget, goes on from there. While one process
    asks a labeler another waits for it, and then asks for what is still missing.

    Args:
        root: of the store.
        again: whether a labeler is asked once more where it failed before; what that had cost is added to the cost. A
            note that had no answer yet when a run was stopped is asked for in any case.
    """

    def __init__(self, root: Path, again: bool = False) -> None:
        self.root, self.again = root, again
        self._journals: dict[int, tuple[Labeler, LabelJournal]] = {}
        self._asked_again: set[bytes] = set()

    def answers(self, labeler: Labeler, notes: Sequence[Note], watch: Watch) -> list[Labelling]:
        """Return one answer a note, in their order. What an answer cost counts for every note with its text.

        Raises:
            Stopped: a labeler may not spend more; the message says how to go on.
            RuntimeError: a labeler broke a promise of `Labeler.label`.
        """
        if isinstance(labeler, Combination):
            each = [self.answers(part, notes, watch) for part in labeler.parts]
            return [labeler.combined(answers) for answers in zip(*each, strict=True)]
        if labeler.needs_people:
            return [answer for _, answer in _asked(labeler, notes)]
        journal = self._journal(labeler)
        found = {note.text: journal.get(note.text) for note in notes}
        if journal.damaged or any(self._wanted(text, answer) for text, answer in found.items()):
            with journal.writing():
                self._fill(found, journal, labeler, watch)
        return [answer for note in notes if (answer := found[note.text]) is not None]

    def close(self) -> None:
        """Let go of the files."""
        for _, journal in self._journals.values():
            journal.close()

    def _journal(self, labeler: Labeler) -> LabelJournal:
        """Return where the answers of a labeler are; its key is made once, for it may take all bytes of an ontology."""
        if id(labeler) not in self._journals:
            self._journals[id(labeler)] = labeler, LabelJournal(self.root / f"labels-{key(labeler)}")
        return self._journals[id(labeler)][1]

    def _wanted(self, text: str, answer: Labelling | None) -> bool:
        if answer is None or answer.failed == UNANSWERED:
            return True
        return self.again and bool(answer.failed) and text_digest(text) not in self._asked_again

    def _fill(self, found: dict[str, Labelling | None], journal: LabelJournal, labeler: Labeler, watch: Watch) -> None:
        """Ask for what is missing in `found` and was not answered by another process meanwhile."""
        for text, answer in found.items():
            found[text] = journal.get(text) if self._wanted(text, answer) else answer
        missing = [Note(text) for text, answer in found.items() if self._wanted(text, answer)]
        number = 0
        try:
            for number, (note, answer) in enumerate(_asked(labeler, missing), 1):
                before = found[note.text]
                if before is not None:
                    answer = _dearer(answer, before)
                    self._asked_again.add(text_digest(note.text))
                journal.keep(note.text, answer)
                found[note.text] = answer
                watch(labeler, number, len(missing), answer)
        except Stopped as stopped:
            raise Stopped(
                f"{stopped}; {number:,} of the {len(missing):,} notes asked for were answered and are kept in "
                f"{journal.folder}: the same command goes on from there"
            ) from stopped


def _asked(labeler: Labeler, notes: Sequence[Note]) -> Iterator[tuple[Note, Labelling]]:
    """Yield every note with its answer, after holding the answer to what a labeler promises."""
    answers = labeler.label(notes)
    with ExitStack() as stack:
        if isinstance(answers, Generator):
            stack.callback(answers.close)  # or it goes on asking while an error is told
        for note in notes:
            answer = next(answers, None)
            if answer is None:
                raise RuntimeError(f"a labeler answers every note; {type(labeler).__name__} ended before the last")
            _check(labeler, answer, len(note.text))
            yield note, answer


def _check(labeler: Labeler, answer: Labelling, length: int) -> None:
    ends = [0, *(one.end for one in answer.spans)]
    starts = [*(one.start for one in answer.spans), length]
    apart = all(end <= start for end, start in zip(ends, starts, strict=True))
    if not apart or any(one.start >= one.end for one in answer.spans) or (answer.failed and answer.spans):
        raise RuntimeError(
            f"a labeler gives sorted spans inside the text of which no two share a character, and none where it "
            f"failed; {type(labeler).__name__} gave others; clinlm.terminology.spans.checked and flat make such"
        )


def _dearer(answer: Labelling, before: Labelling) -> Labelling:
    """Add what a failed answer had cost."""
    return replace(
        answer,
        seconds=answer.seconds + before.seconds,
        prompt_tokens=answer.prompt_tokens + before.prompt_tokens,
        completion_tokens=answer.completion_tokens + before.completion_tokens,
        retries=answer.retries + before.retries + 1,
    )
