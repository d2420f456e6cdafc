"""The notes of a corpus, read like those of a file."""

from collections.abc import Iterator, Sequence
from typing import final

from clinlm.corpora.base import Records
from clinlm.files.record import Position, Record, Source
from clinlm.terminology.spans import Span


@final
class CorpusSource(Source):
    """One note a record, in the order of the corpus; records count as lines.

    Args:
        records: of the corpus.
    """

    def __init__(self, records: Records) -> None:
        self._frame = records.frame
        self.total = self._frame.height

    @property
    def people(self) -> bool:
        """Whether people labelled the notes."""
        return "spans" in self._frame.columns

    def records(self, start: Position) -> Iterator[Record]:
        """See `Source.records`."""
        rows = self._frame.select("id", "text").slice(start.offset)
        for row, (id, text) in enumerate(rows.iter_rows(), start.offset + 1):
            yield Record.checked(row, id, text, Position(row, row), True)

    def human(self, lines: Sequence[int]) -> list[tuple[Span, ...]]:
        """Return what people said of the notes on these lines."""
        column = self._frame["spans"]
        return [tuple(Span(one["start"], one["end"], one["label"]) for one in column[line - 1]) for line in lines]
