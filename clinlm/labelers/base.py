"""What every labeler promises: notes in, spans out, one answer a note, in their order."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

from clinlm.terminology.spans import Span

UNANSWERED = "the run ended before its answer came"
"""Why a note failed that was begun when a run was stopped: what was paid for it counts, and the next run asks again."""


class Note(NamedTuple):
    """A text to be labelled, and what people said of it; None where nobody did."""

    text: str
    human: tuple[Span, ...] | None = None


@final
@dataclass(frozen=True)
class Labelling:
    """What a labeler says of one note, and what that cost.

    Attributes:
        spans: inside the text, sorted, none shares a character with another; empty where it found none or failed.
        seconds: that this note took; where several are under way at once, their common time shared out, so that the sum
            over notes is what the run took.
        prompt_tokens, completion_tokens: paid for, all attempts together; 0 for what is no language model.
        failed: why there is no answer; "" where there is one.
        invented: entities answered that do not stand in the text, and were left out.
        retries: answers that were asked for again.
    """

    spans: tuple[Span, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failed: str = ""
    invented: int = 0
    retries: int = 0


class Labeler(ABC):
    """A source of spans. Subclasses are final, one per source, one per file, and hold plain settings."""

    @property
    def parts(self) -> Sequence["Labeler"]:
        """The labelers that it combines; none for one that reads notes itself."""
        return ()

    @property
    def remote(self) -> str:
        """The address that the texts are sent to, where that is no loopback address; "" where they stay here."""
        return ""

    @property
    def needs_people(self) -> bool:
        """Whether it repeats what people said, and so cannot label a note that nobody labelled."""
        return any(one.needs_people for one in self.parts)

    @abstractmethod
    def label(self, notes: Sequence[Note]) -> Iterator[Labelling]:
        """Yield one answer a note, in the order of the notes, each as soon as it and all before it are there.

        Raises:
            Stopped: a budget is used up. What was yielded before counts.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what identifies its answers beyond the text: a digest of settings, and of the bytes of files read."""


class Stopped(RuntimeError):
    """A labeler ended before the last note because it may not spend more; the message says what to do."""
