"""Notes, labelled: kept answers where there are some, and a line that says what came out and what it cost."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clinlm.config import runtime
from clinlm.corpora.base import Corpus
from clinlm.labelers.base import Labeler, Labelling, Note
from clinlm.labelers.cache import LabelStore
from clinlm.labelers.remote import refuse_remote

log = logging.getLogger(__name__)


@final
@dataclass
class Tally:
    """What some answers amount to; the fields are those of `Labelling`, summed.

    Attributes:
        notes: answered.
        spans: by label.
        failed: notes without an answer.
    """

    notes: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    invented: int = 0
    retries: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, answer: Labelling) -> None:
        """Count an answer."""
        self.notes += 1
        self.spans.update(one.label for one in answer.spans)
        self.failed += bool(answer.failed)
        self.invented += answer.invented
        self.retries += answer.retries
        self.seconds += answer.seconds
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens

    def found(self) -> str:
        """Return how many notes there are and what was found in them."""
        labels = ", ".join(f"{label} {count:,}" for label, count in self.spans.most_common()) or "no span"
        more = "".join(f"; {count:,} {what}" for count, what in self._mishaps() if count)
        return f"{self.notes:,} notes: {labels}{more}"

    def cost(self) -> str:
        """Return what they cost."""
        tokens = f", {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        return f"{self.seconds:,.1f} s{tokens if self.prompt_tokens or self.completion_tokens else ''}"

    def _mishaps(self) -> list[tuple[int, str]]:
        return [
            (self.failed, "failed"),
            (self.invented, "entities that do not stand in the text, left out"),
            (self.retries, "answers asked for again"),
        ]


def labelled(
    labeler: Labeler, notes: Sequence[Note], root: Path, corpus: Corpus, again: bool = False
) -> list[Labelling]:
    """Return one answer a note, in their order, from the store or from the labeler.

    Args:
        labeler: any.
        notes: of the corpus.
        root: of the store; see `LabelStore`.
        corpus: that the notes are of; it says whether they may be sent anywhere.
        again: whether notes that failed in an earlier run are asked for again; else they stay failed.

    Raises:
        ValueError: the labeler sends notes to an outside service, and may not.
        Stopped: a budget is used up; what was answered is kept.
    """
    refuse_remote(labeler, corpus)
    every, asked = Tally(), Tally()
    with closing(LabelStore(root, again)) as answers, _Bar(asked) as bar:
        found = answers.answers(labeler, notes, bar.step)
    for one in found:
        every.add(one)
    now = f"{asked.notes:,} answers were asked for now, and took {asked.cost()}" if asked.notes else "all were kept"
    log.info("%s; %s", every.found(), now)
    return found


@final
class _Bar:
    """A bar for every labeler that is asked, on a terminal only."""

    def __init__(self, tally: Tally) -> None:
        columns = (
            *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
            *(TextColumn("{task.fields[rate]:,.1f} a second"), TimeElapsedColumn(), TimeRemainingColumn()),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), disable=not runtime.interactive(), transient=True)
        self._tally = tally

    def step(self, labeler: Labeler, number: int, total: int, answer: Labelling) -> None:
        """Count an answer; see `clinlm.labelers.cache.Watch`."""
        self._tally.add(answer)
        if number == 1:
            self._watch = runtime.Stopwatch()
            self._task = self._bar.add_task(type(labeler).__name__, total=total, rate=0.0)
        rate = number / max(self._watch.seconds(), 1e-9)
        self._bar.update(self._task, completed=number, rate=rate)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()
