"""Combinations of labelers: one result per note, computed from theirs."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.config.near_names import did_you_mean
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.store.key import digest
from clinlm.terminology.spans import Span


@dataclass(frozen=True)
class Combination(Labeler):
    """Several labelers whose spans are merged. Subclasses are final.

    One labeler alone gives its own spans. A combination fails where a labeler failed whose spans could have changed the
    result. Its cost, including its time, is the sum of the costs of its labelers.

    Attributes:
        use: names of the labelers to combine, in order; None for all of them.

    Raises:
        ConfigError: no labeler is left, one is named twice, or a name is unknown.
    """

    labelers: Mapping[str, Labeler]
    use: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in self.labelers:
                raise ConfigError(
                    f"use must name labelers of the combination, got {name!r}; known are {', '.join(self.labelers)}"
                    f"{did_you_mean(name, self.labelers)}"
                )
        if not self.names or len(set(self.names)) < len(self.names):
            got = ", ".join(self.names) or "none"
            raise ConfigError(f"a combination needs at least one labeler, each once; got {got}; set labelers, or use")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the combined labelers, in order."""
        return tuple(self.labelers if self.use is None else self.use)

    @property
    @final
    def parts(self) -> Sequence[Labeler]:
        return [self.labelers[name] for name in self.names]

    @abstractmethod
    def merge(self, each: Sequence[Sequence[Span] | None]) -> list[Span] | None:
        """Return the flat, sorted spans of one note; None where a labeler failed that could have changed them.

        Args:
            each: flat, sorted spans of every combined labeler, in order; None where it failed. Never empty.
        """

    def settings(self) -> Sequence[str]:
        """Return what decides `merge` besides the class."""
        return ()

    @final
    def combine(self, results: Sequence[LabeledNote]) -> LabeledNote:
        """Return the result for one note from those of `parts`, in their order."""
        spans = self.merge([None if note.failed else note.spans for note in results])
        failed = [f"{name}: {note.failed}" for name, note in zip(self.names, results, strict=True) if note.failed]
        return LabeledNote(
            tuple(spans or ()),
            seconds=sum(note.seconds for note in results),
            prompt_tokens=sum(note.prompt_tokens for note in results),
            completion_tokens=sum(note.completion_tokens for note in results),
            failed="; ".join(failed) if spans is None else "",
            invented=sum(note.invented for note in results),
            retries=sum(note.retries for note in results),
        )

    @final
    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        for results in zip(*(part.label(notes) for part in self.parts), strict=True):
            yield self.combine(results)

    @final
    def fingerprint(self) -> str:
        """See `Labeler.fingerprint`: it depends on the labelers and their order, not on their names."""
        parts = [[f"{type(part).__module__}.{type(part).__qualname__}", part.fingerprint()] for part in self.parts]
        return digest([list(self.settings()), parts])
