"""The spans that people gave."""

from collections.abc import Iterator, Sequence
from typing import final

from clinlm.labelers.base import Labeler, Labelling, Note
from clinlm.terminology.spans import checked, flat


@final
class Human(Labeler):
    """Repeats what people said of a note, made flat: of nested or overlapping entities the longest stays.

    It takes no time and costs nothing that is known here.
    """

    @property
    def needs_people(self) -> bool:
        """See `Labeler.needs_people`."""
        return True

    def label(self, notes: Sequence[Note]) -> Iterator[Labelling]:
        """See `Labeler.label`.

        Raises:
            ValueError: nobody labelled a note; none at all is not the same as no entity in it.
        """
        for number, note in enumerate(notes, 1):
            if note.human is None:
                raise ValueError(
                    f"the labeler human repeats what people said; nobody labelled note {number:,} of {len(notes):,}; "
                    "take a corpus with spans of people, or another labeler"
                )
            yield Labelling(tuple(flat(checked(note.human, len(note.text)))))

    def fingerprint(self) -> str:
        """See `Labeler.fingerprint`: it has no settings, and what it says stands in the corpus."""
        return ""
