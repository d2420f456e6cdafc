"""Answers in JSON Lines."""

import json
from pathlib import Path
from typing import Any, final

from clinlm.predict.answers import Answers
from clinlm.predict.sink import Appended, Sink


@final
class JsonLinesSink(Sink):
    """One object a note: `id`, `line`, `labels` (list), `probabilities` (by label), and both with `shadow_` before.

    Args:
        path: of the file; None writes to standard output.
        position: bytes to keep of what is there.
    """

    def __init__(self, path: Path | None, position: int) -> None:
        self._file = Appended(path, position)

    @property
    def position(self) -> int:
        """See `Sink.position`: bytes."""
        return self._file.position

    def append(self, answers: Answers) -> None:
        """See `Sink.append`."""
        rows: list[dict[str, Any]] = [
            {"id": id, "line": line} for id, line in zip(answers.ids, answers.lines, strict=True)
        ]
        for prefix in answers.models:
            both = zip(rows, answers.predicted(prefix), answers.rounded(prefix), strict=True)
            for row, labels, values in both:
                row[f"{prefix}labels"] = labels
                row[f"{prefix}probabilities"] = dict(zip(answers.labels, values, strict=True))
        self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())

    def finish(self) -> None:
        """See `Sink.finish`: every window is in its final form."""

    def clear(self) -> None:
        """See `Sink.clear`: there is nothing else."""

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()
