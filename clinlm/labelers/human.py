"""The spans that people gave."""

from collections.abc import Iterator, Sequence
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.labelers.base import LabeledNote, Labeler, Note
from clinlm.terminology.spans import check_spans, flatten


@final
class Human(Labeler):
    """Spans of people, made flat: of nested or overlapping entities the longest stays. Their cost is unknown."""

    @property
    def needs_people(self) -> bool:
        return True

    def label(self, notes: Sequence[Note]) -> Iterator[LabeledNote]:
        """See `Labeler.label`.

        Raises:
            ConfigError: nobody labeled a note, which is not the same as a note without entities.
        """
        for number, note in enumerate(notes, 1):
            if note.human is None:
                raise ConfigError(
                    f"the labeler human needs spans of people for every note; note {number:,} of {len(notes):,} has "
                    "none; choose a corpus with such spans, or another labeler"
                )
            yield LabeledNote(tuple(flatten(check_spans(note.human, len(note.text)))))

    def fingerprint(self) -> str:
        """See `Labeler.fingerprint`: it has no settings, and its spans are part of the corpus."""
        return ""
