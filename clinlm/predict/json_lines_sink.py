"""Answers in JSON Lines."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import final

from clinlm.predict.answers import Written
from clinlm.predict.sink import Appended, Sink


@final
class JsonLinesSink(Sink):
    """One object a note: `id`, `line`, what the model says, and what its shadow says with `shadow_` before the names.

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

    def append(self, rows: Sequence[Written]) -> None:
        """See `Sink.append`."""
        self._file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())

    def finish(self) -> None:
        """See `Sink.finish`: every window is in its final form."""

    def clear(self) -> None:
        """See `Sink.clear`: there is nothing else."""

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()
