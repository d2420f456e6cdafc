"""Answers in Parquet."""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from clinlm.predict.answers import Written
from clinlm.predict.question import Question
from clinlm.predict.sink import Sink, rename, write_whole


@final
class ParquetSink(Sink):
    """One row a note: id, line, what the model says, and what its shadow says with `shadow_` before the names.

    A Parquet file cannot be appended to. Every window becomes a file in `<output>.parts`, and the end of the run makes
    one file of them all, as a stream.

    Args:
        path: of the file.
        position: parts to keep of those that are there.
        question: that is answered.
        prefixes: of the models: "" the model, "shadow_" its shadow.

    Raises:
        ValueError: a part is missing.
    """

    def __init__(self, path: Path, position: int, question: Question[Any], prefixes: Sequence[str]) -> None:
        self._path, self._parts, self._position = path, path.with_name(f"{path.name}.parts"), position
        self._schema: dict[str, Any] = {"id": pl.String(), "line": pl.Int64()}
        for prefix in prefixes:
            self._schema |= {f"{prefix}{name}": kind for name, kind in question.schema().items()}
        self._parts.mkdir(parents=True, exist_ok=True)
        there = set(self._parts.iterdir())
        missing = sorted(set(self._kept()) - there)
        if missing:
            raise ValueError(
                f"a run goes on where it was stopped; {missing[0]}, which was written, is gone; delete "
                f"{path.name}.progress.json and {path.name}.parts, or set another output"
            )
        for extra in there - set(self._kept()):
            extra.unlink()

    @property
    def position(self) -> int:
        """See `Sink.position`: parts."""
        return self._position

    def append(self, rows: Sequence[Written]) -> None:
        """See `Sink.append`."""
        part = io.BytesIO()
        columns = {name: [row[name] for row in rows] for name in self._schema}
        pl.DataFrame(columns, schema=self._schema).write_parquet(part)
        write_whole(self._part(self._position), part.getvalue())
        self._position += 1

    def finish(self) -> None:
        """See `Sink.finish`: one file of all parts."""
        parts = self._kept()
        draft = self._path.with_name(f".{self._path.name}.draft")
        whole = pl.scan_parquet(parts) if parts else pl.LazyFrame(schema=self._schema)
        whole.sink_parquet(draft, maintain_order=True, sync_on_close="all")
        rename(draft, self._path)

    def clear(self) -> None:
        """See `Sink.clear`: the parts."""
        shutil.rmtree(self._parts)

    def close(self) -> None:
        """See `Sink.close`: no file stays open between windows."""

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.parquet"

    def _kept(self) -> list[Path]:
        return [self._part(number) for number in range(self._position)]
