"""What every combination of labelers promises: one answer a note, computed from theirs."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.validation import nearest
from clinlm.labelers.base import Labeler, Labelling, Note
from clinlm.store.key import digest
from clinlm.terminology.spans import Span


@dataclass(frozen=True)
class Combination(Labeler):
    """Several labelers, of whose spans new ones are made. Subclasses are final.

    One labeler alone gives its own spans back. A combination fails where a labeler failed whose answer could have
    changed its own. What it costs, its time included, is what all its labelers cost.

    Attributes:
        labelers: by name.
        use: names of those that count, in their order; None for all of them, in theirs.

    Raises:
        ValueError: none is left, one is named twice, or a name is none of `labelers`.
    """

    labelers: Mapping[str, Labeler]
    use: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in self.labelers:
                raise ValueError(
                    f"use names labelers of the combination; {name!r} is none of {', '.join(self.labelers)}"
                    f"{nearest(name, self.labelers)}"
                )
        if not self.names or len(set(self.names)) < len(self.names):
            told = f"got {', '.join(self.names)}" if self.names else "none came"
            raise ValueError(f"a combination has at least one labeler, each once; {told}; set labelers, or use")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labelers that count, in order."""
        return tuple(self.labelers if self.use is None else self.use)

    @property
    @final
    def parts(self) -> Sequence[Labeler]:
        """See `Labeler.parts`."""
        return [self.labelers[name] for name in self.names]

    @abstractmethod
    def merged(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """Return the flat, sorted spans of one note.

        Args:
            each: what every labeler that counts says, in order: flat, sorted spans; None where it failed. Never empty.

        Returns:
            None where a labeler failed whose answer could have changed them.
        """

    @abstractmethod
    def settings(self) -> Sequence[str]:
        """Return what decides `merged` beside the class."""

    @final
    def combined(self, answers: Sequence[Labelling]) -> Labelling:
        """Return the answer of one note from those of `parts`, in their order."""
        spans = self.merged([None if one.failed else one.spans for one in answers])
        failed = [f"{name}: {one.failed}" for name, one in zip(self.names, answers, strict=True) if one.failed]
        return Labelling(
            tuple(spans or ()),
            seconds=sum(one.seconds for one in answers),
            prompt_tokens=sum(one.prompt_tokens for one in answers),
            completion_tokens=sum(one.completion_tokens for one in answers),
            failed="; ".join(failed) if spans is None else "",
            invented=sum(one.invented for one in answers),
            retries=sum(one.retries for one in answers),
        )

    @final
    def label(self, notes: Sequence[Note]) -> Iterator[Labelling]:
        """See `Labeler.label`."""
        for answers in zip(*(part.label(notes) for part in self.parts), strict=True):
            yield self.combined(answers)

    @final
    def fingerprint(self) -> str:
        """See `Labeler.fingerprint`: which its labelers are counts, and their order; what they are called does not."""
        parts = [[f"{type(part).__module__}.{type(part).__qualname__}", part.fingerprint()] for part in self.parts]
        return digest([list(self.settings()), parts])
