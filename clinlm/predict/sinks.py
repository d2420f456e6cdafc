"""Writers of answers: JSON Lines, CSV, Parquet."""

import csv
import io
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.files.sources import STANDARD
from clinlm.predict.durable_file import AppendedFile, open_private, rename_durably, write_whole
from clinlm.predict.predictions import Row

SEPARATOR = ";"
"""Separates the labels of a note in a cell."""


class Sink(ABC):
    """Writes answers, window after window."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Return the position to open the output with in order to continue from here."""

    @abstractmethod
    def append(self, rows: Sequence[Row]) -> None:
        """Write the answers of one window; they are on disk when this returns."""

    @abstractmethod
    def finish(self) -> None:
        """Bring the output into its final form; may be called again after it was interrupted."""

    @abstractmethod
    def clear(self) -> None:
        """Remove what was needed only until the output was complete."""

    @abstractmethod
    def close(self) -> None:
        """Close the output, finished or not."""


class AppendingSink(Sink):
    """Writes a file to which every window is appended in its final form.

    Args:
        path: of the file; `STANDARD` writes to standard output.
        position: bytes to keep.
    """

    def __init__(self, path: Path, position: int) -> None:
        self._file = AppendedFile(None if path == STANDARD else path, position)

    @property
    def position(self) -> int:
        return self._file.position

    def append(self, rows: Sequence[Row]) -> None:
        self._file.write(self._encode(rows))

    def finish(self) -> None:
        """See `Sink.finish`: it is final."""

    def clear(self) -> None:
        """See `Sink.clear`: there is nothing to remove."""

    def close(self) -> None:
        self._file.close()

    @abstractmethod
    def _encode(self, rows: Sequence[Row]) -> bytes:
        """Return the lines of one window."""


@final
class JsonLinesSink(AppendingSink):
    """One object per note: `id`, `line`, and the values of its answer."""

    def _encode(self, rows: Sequence[Row]) -> bytes:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@final
class CsvSink(AppendingSink):
    """One row per note: id, line, and the values of its answer.

    A list of strings is joined by `;`, `probabilities` have a column `p_<label>` per label, and a list of spans is a
    cell of JSON.

    Args:
        schema: name -> polars type of the values.

    Raises:
        ConfigError: a label contains the separator.
    """

    def __init__(self, path: Path, position: int, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        wrong = [label for kind in schema.values() for label in _fields(kind) if SEPARATOR in label]
        if wrong:
            raise ConfigError(
                f"labels must not contain {SEPARATOR!r} in CSV, where it separates them; got {wrong[0]!r}; write to a "
                ".jsonl or .parquet file"
            )
        super().__init__(path, position)
        if not position:
            self._file.write(_to_csv([["id", "line", *self._headings()]]))

    def _encode(self, rows: Sequence[Row]) -> bytes:
        return _to_csv([row["id"], row["line"], *self._cells(row)] for row in rows)

    def _headings(self) -> Iterator[str]:
        for name, kind in self._schema.items():
            labels = _fields(kind)
            yield from (f"{name.removesuffix('probabilities')}p_{label}" for label in labels) if labels else [name]

    def _cells(self, row: Row) -> Iterator[Any]:
        for name, kind in self._schema.items():
            if isinstance(kind, pl.Struct):
                yield from row[name].values()
            elif kind == pl.List(pl.String()):
                yield SEPARATOR.join(row[name])
            else:
                yield json.dumps(row[name], ensure_ascii=False)


def _fields(kind: Any) -> list[str]:
    return [field.name for field in kind.fields] if isinstance(kind, pl.Struct) else []


def _to_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@final
class ParquetSink(Sink):
    """One row per note: id, line, and the values of its answer.

    A Parquet file cannot be appended to. Every window becomes a file in `<output>.parts`, and the end of the run joins
    them, as a stream.

    Args:
        path: of the file.
        position: number of parts to keep.
        schema: name -> polars type of the values.

    Raises:
        DataError: a part is missing.
    """

    def __init__(self, path: Path, position: int, schema: Mapping[str, Any]) -> None:
        self._path, self._parts, self._position = path, path.with_name(f"{path.name}.parts"), position
        self._schema: dict[str, Any] = {"id": pl.String(), "line": pl.Int64(), **schema}
        self._parts.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._parts.chmod(0o700)
        present, kept = set(self._parts.iterdir()), self._kept()
        missing = sorted(set(kept) - present)
        if missing:
            raise DataError(
                f"all written parts must exist, but {missing[0]} is missing; delete {path.name}.progress.json and "
                f"{path.name}.parts, or set another output"
            )
        for extra in present - set(kept):
            extra.unlink()

    @property
    def position(self) -> int:
        return self._position

    def append(self, rows: Sequence[Row]) -> None:
        part = io.BytesIO()
        columns = {name: [row[name] for row in rows] for name in self._schema}
        pl.DataFrame(columns, schema=self._schema).write_parquet(part)
        write_whole(self._part(self._position), part.getvalue())
        self._position += 1

    def finish(self) -> None:
        parts = self._kept()
        draft = self._path.with_name(f".{self._path.name}.draft")
        whole = pl.scan_parquet(parts) if parts else pl.LazyFrame(schema=self._schema)
        open_private(draft).close()
        whole.sink_parquet(draft, maintain_order=True, sync_on_close="all")
        rename_durably(draft, self._path)

    def clear(self) -> None:
        shutil.rmtree(self._parts)

    def close(self) -> None:
        """See `Sink.close`: no file stays open between windows."""

    def _part(self, number: int) -> Path:
        return self._parts / f"{number:06d}.parquet"

    def _kept(self) -> list[Path]:
        return [self._part(number) for number in range(self._position)]
