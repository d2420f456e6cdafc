"""Answers in CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, final

from clinlm.predict.answers import Answers
from clinlm.predict.sink import Appended, Sink

BETWEEN = ";"
"""What stands between the labels of a note."""


@final
class CsvSink(Sink):
    """One row a note: id, line, labels (joined by `;`), a column `p_<label>` a label; those with `shadow_` before.

    Args:
        path: of the file.
        position: bytes to keep of what is there.
        labels: names of the labels.
        prefixes: of the models, see `Answers.models`.

    Raises:
        ValueError: a label has a semicolon in its name.
    """

    def __init__(self, path: Path, position: int, labels: Sequence[str], prefixes: Sequence[str]) -> None:
        wrong = [label for label in labels if BETWEEN in label]
        if wrong:
            raise ValueError(
                f"labels in CSV are joined by {BETWEEN!r}; the label {wrong[0]!r} has one in its name; write to a "
                ".jsonl or .parquet file"
            )
        self._file = Appended(path, position)
        if not position:
            columns = [f"{prefix}{name}" for prefix in prefixes for name in ("labels", *(f"p_{one}" for one in labels))]
            self._file.write(_bytes([["id", "line", *columns]]))

    @property
    def position(self) -> int:
        """See `Sink.position`: bytes."""
        return self._file.position

    def append(self, answers: Answers) -> None:
        """See `Sink.append`."""
        rows: list[list[Any]] = [[id, line] for id, line in zip(answers.ids, answers.lines, strict=True)]
        for prefix in answers.models:
            for row, labels, values in zip(rows, answers.predicted(prefix), answers.rounded(prefix), strict=True):
                row += [BETWEEN.join(labels), *values]
        self._file.write(_bytes(rows))

    def finish(self) -> None:
        """See `Sink.finish`: every window is in its final form."""

    def clear(self) -> None:
        """See `Sink.clear`: there is nothing else."""

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()


def _bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
