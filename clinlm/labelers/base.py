"""Labelers: notes in, spans out, one result per note, in order."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

from clinlm.config.errors import ClinlmError
from clinlm.labelers.llm_prices import Prices
from clinlm.terminology.spans import Span

UNANSWERED = "the run ended before its answer came"
"""Failure of a note that was under way when a run ended: its cost counts, and the next run asks for it again."""


class Note(NamedTuple):
    """A text to be labeled, and the spans that people gave it; None where nobody labeled it."""

    text: str
    human: tuple[Span, ...] | None = None


@final
@dataclass(frozen=True)
class LabeledNote:
    """Result of a labeler for one note, and its cost.

    Attributes:
        spans: within the text, sorted, without overlap; empty where none was found or the note failed.
        seconds: time of this note; concurrent notes share their time, so that the sum is the time of the run.
        prompt_tokens, completion_tokens: paid for, over all attempts; 0 unless the labeler is a language model.
        failed: reason why there is no answer; "" where there is one.
        invented: number of entities dropped because their text is not in the note.
    """

    spans: tuple[Span, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failed: str = ""
    invented: int = 0
    retries: int = 0


@final
@dataclass
class LabelTotals:
    """Sums of the fields of `LabeledNote` over several notes.

    Attributes:
        spans: number of spans per label.
    """

    notes: int = 0
    spans: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    invented: int = 0
    retries: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, note: LabeledNote) -> None:
        """Add a result."""
        self.notes += 1
        self.spans.update(span.label for span in note.spans)
        self.failed += bool(note.failed)
        self.invented += note.invented
        self.retries += note.retries
        self.seconds += note.seconds
        self.prompt_tokens += note.prompt_tokens
        self.completion_tokens += note.completion_tokens

    def describe(self) -> str:
        """Return the number of notes, spans and problems."""
        labels = ", ".join(f"{label} {count:,}" for label, count in self.spans.most_common()) or "no span"
        problems = {"failed": self.failed, "invented entities dropped": self.invented, "requests retried": self.retries}
        return f"{self.notes:,} notes: {labels}" + "".join(f"; {n:,} {name}" for name, n in problems.items() if n)

    def describe_cost(self) -> str:
        """Return the time and the tokens."""
        tokens = f", {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        return f"{self.seconds:,.1f} s{tokens if self.prompt_tokens or self.completion_tokens else ''}"


class Labeler(ABC):
    """A source of spans. Subclasses are final, one per source, one per file, and hold plain settings."""

    allow_remote: bool = False
    """Whether the user allows it to send texts to another machine."""

    prices: Prices | None = None
    """What its tokens cost; None for a labeler without tokens."""

    @property
    def parts(self) -> Sequence["Labeler"]:
        """Return the labelers that it combines; none for one that reads notes itself."""
        return ()

    @property
    def remote(self) -> str:
        """Return the host that texts are sent to, if it is not a loopback address; "" where they stay here."""
        return ""

    @property
    def needs_people(self) -> bool:
        """Return whether it uses spans of people, and so cannot label a note that nobody labeled."""
        return any(part.needs_people for part in self.parts)

    @property
    def notices(self) -> Sequence[str]:
        """Return counted warnings on its sources, and on the notes so far; no text of a note."""
        return [notice for part in self.parts for notice in part.notices]

    @abstractmethod
    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        """Yield one result per note, in order, each as soon as it and all before it are available.

        Raises:
            LabelingStopped: a budget is used up. The results yielded before count.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of what decides its results besides the text: settings, and bytes of files read."""


class LabelingStopped(ClinlmError, RuntimeError):
    """A labeler stopped before the last note because a limit is reached; the message says how to continue."""
