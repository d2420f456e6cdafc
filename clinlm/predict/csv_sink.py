"""Answers in CSV."""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

from clinlm.predict.answers import Written
from clinlm.predict.question import Question
from clinlm.predict.sink import Appended, Sink


@final
class CsvSink(Sink):
    """One row a note: id, line, the columns of the question, and those of a shadow with `shadow_` before their names.

    Args:
        path: of the file.
        position: bytes to keep of what is there.
        question: that is answered.
        prefixes: of the models: "" the model, "shadow_" its shadow.

    Raises:
        ValueError: see `Question.headings`.
    """

    def __init__(self, path: Path, position: int, question: Question[Any], prefixes: Sequence[str]) -> None:
        columns = [f"{prefix}{name}" for prefix in prefixes for name in question.headings()]
        self._question, self._prefixes = question, prefixes
        self._file = Appended(path, position)
        if not position:
            self._file.write(_bytes([["id", "line", *columns]]))

    @property
    def position(self) -> int:
        """See `Sink.position`: bytes."""
        return self._file.position

    def append(self, rows: Sequence[Written]) -> None:
        """See `Sink.append`."""
        self._file.write(_bytes(map(self._cells, rows)))

    def finish(self) -> None:
        """See `Sink.finish`: every window is in its final form."""

    def clear(self) -> None:
        """See `Sink.clear`: there is nothing else."""

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()

    def _cells(self, row: Written) -> list[Any]:
        cells = (self._question.cells(row, prefix) for prefix in self._prefixes)
        return [row["id"], row["line"], *itertools.chain.from_iterable(cells)]


def _bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
