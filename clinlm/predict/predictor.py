"""A model as a callable on batches of notes in Arrow's format: for Ray Data, Spark, datasets and polars."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.files.record import Position, Record
from clinlm.predict.model_answerer import NOTES_TOGETHER, ModelAnswerer
from clinlm.predict.note_models import NoteModels
from clinlm.predict.settings import check_coverage

REJECTED: Final = "rejected"
"""The column with the reason for which a note has no answer."""


@final
class Predictor:
    """Answers batches of notes with a stored model; see `docs/scale.md` for the engines that call it.

    It may be pickled and sent to workers: it is then only its arguments, and every process opens the model when it is
    called for the first time, once. It keeps nothing between batches. It uses one thread: a cluster has a process for
    each core.

    Args:
        folder: of an artifact, a deployment, a cascade or a baseline; every worker must find it there.
        text: column of the notes.
        keep: columns that are copied to the answers, such as an id. The column of the notes cannot be one of them.
        coverage, batch_tokens: see `conf/predict.yaml`.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        text: str = "text",
        keep: Sequence[str] = ("id",),
        coverage: float | None = None,
        batch_tokens: int = 1024,
    ) -> None:
        if text in keep or isinstance(keep, str):
            raise ConfigError(f"keep must be a list of columns without the notes in {text!r}, got {keep!r}")
        check_coverage(coverage)
        self.folder, self.text, self.keep = Path(folder).absolute(), text, tuple(keep)
        self.coverage, self.batch_tokens = coverage, batch_tokens
        self._models: NoteModels | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_models": None}

    def __call__(self, batch: Any) -> Any:
        """Return the answers to a batch: one row for each of its rows, in their order.

        Args:
            batch: a table or record batch of pyarrow, a data frame of polars, or any other object with Arrow's stream
                (`__arrow_c_stream__`) or array interface.

        Returns:
            of the kind of the batch (of polars for an object that is neither): the columns of `keep`, those that
            `clinlm predict` writes to a Parquet file, which are null where a note has no answer, and `rejected`, the
            reason for that, without any text of the note; null where there is an answer.

        Raises:
            DataError: a column is missing, or one of `keep` has the name of a column of the answers.
            MissingFileError, ModelError: a file of the model is missing or broken.
        """
        frame = batch if isinstance(batch, pl.DataFrame) else pl.DataFrame(batch)
        missing = [name for name in (self.text, *self.keep) if name not in frame.columns]
        if missing:
            raise DataError(
                f"a batch must have the columns {', '.join((self.text, *self.keep))}, got none named "
                f"{', '.join(missing)}; set text and keep to columns that it has"
            )
        if taken := [name for name in self.keep if name in self.schema()]:
            raise DataError(
                f"keep must not have columns of the answers, got {', '.join(taken)}; rename them in the batch"
            )
        answers = self._answers(frame[self.text].to_list())
        return _as_kind(frame.select(self.keep).hstack(answers) if self.keep else answers, batch)

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the answers to every batch: what Spark's `mapInArrow` calls."""
        for batch in batches:
            yield self(batch)

    def schema(self) -> dict[str, Any]:
        """Return name -> polars type of the columns of the answers, besides those of `keep`."""
        return {**self._opened().schema(), REJECTED: pl.String()}

    def _opened(self) -> NoteModels:
        if self._models is None:
            self._models = NoteModels(self.folder, None, self.batch_tokens, self.coverage)
        return self._models

    def _answers(self, texts: Sequence[Any]) -> pl.DataFrame:
        models, schema = self._opened(), self.schema()
        checked = [Record.checked(number, None, text, Position(), False) for number, text in enumerate(texts)]
        reasons = [own.reason or models.refuse(str(own.text)) for own in checked]
        rows: list[dict[str, Any]] = [{} for _ in texts]
        asked = [number for number, reason in enumerate(reasons) if not reason]
        for start in range(0, len(asked), NOTES_TOGETHER):
            part = asked[start : start + NOTES_TOGETHER]
            for number, row in zip(part, models.answer([str(texts[own]) for own in part]).rows, strict=True):
                rows[number], reasons[number] = row or {}, "" if row is not None else ModelAnswerer.no_answer
        columns = {name: [row.get(name) for row in rows] for name in schema if name != REJECTED}
        return pl.DataFrame(columns | {REJECTED: [reason or None for reason in reasons]}, schema=schema)


def _as_kind(frame: pl.DataFrame, batch: Any) -> Any:
    """Return a data frame as a table or record batch of pyarrow, if `batch` is one."""
    module, _, name = f"{type(batch).__module__}.{type(batch).__qualname__}".rpartition(".")
    if module.partition(".")[0] != "pyarrow":
        return frame
    import pyarrow  # here: whoever made the batch has it

    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    table = table.cast(pyarrow.schema([own.with_type(_short_type(own.type)) for own in table.schema]))
    if name != "RecordBatch":
        return table
    found = table.combine_chunks().to_batches()
    return found[0] if found else pyarrow.RecordBatch.from_pylist([], schema=table.schema)


def _short_type(kind: Any) -> Any:
    """Return a type of pyarrow with offsets of 32 bits, as Spark knows no other; a batch has fewer characters."""
    import pyarrow

    if pyarrow.types.is_large_list(kind):
        return pyarrow.list_(_short_type(kind.value_type))
    if pyarrow.types.is_struct(kind):
        return pyarrow.struct([own.with_type(_short_type(own.type)) for own in kind])
    return pyarrow.string() if pyarrow.types.is_large_string(kind) else kind
