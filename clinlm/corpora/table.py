"""A table of documents: CSV, TSV, JSON Lines or Parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import polars as pl

from clinlm.config.errors import ConfigError
from clinlm.corpora import table_rows
from clinlm.corpora.base import Corpus, NearDuplicates, Records, check_near_duplicates, count_notices, digest_files
from clinlm.files.sources import check_columns

_TRUE, _FALSE = ("1", "true", "1.0"), ("0", "false", "0.0")


@final
class Table(Corpus):
    """One record per row of a file; the settings name its columns. Records keep the file's order.

    The ending of the name gives the format: .csv, .tsv, .jsonl (these also with .gz) or .parquet. Every value is read
    as text: an id of 007 stays 007.

    - Rows with empty text (or white space only) are dropped and counted.
    - Labels are stripped and made distinct, empty ones are removed. Rows without labels stay and are counted. A 0/1
      column may hold 0, 1, true or false (any case; also 0.0 and 1.0, as pandas writes them) only: an empty cell is not
      a 0.
    - A row that repeats another in every column used is dropped and counted. Any other row with a repeated id is an
      error, since its labels and text contradict the first.
    - Empty ids and groups are errors, empty attributes are null.

    Args:
        root: the file.
        text: the column with the text.
        labels: the column with the labels of a row, or the 0/1 columns, one per label and named like it; None for
            notes without labels.
        id: the column that names a document; None numbers the data rows from 1.
        group: the column of what must not span two splits, such as the patient; None takes the id.
        delimiter: separates the labels in their column; None if they are a list (.jsonl, .parquet).
        attributes: columns for reports by subgroup.
        near_duplicates: `count`, `merge` or `ignore` those of other groups; see `clinlm.corpora.repeats`.

    Raises:
        ConfigError: a setting has the wrong type.
    """

    def __init__(
        self,
        root: str | Path,
        text: str,
        labels: str | Sequence[str] | None,
        id: str | None = None,
        group: str | None = None,
        delimiter: str | None = None,
        attributes: Sequence[str] = (),
        near_duplicates: NearDuplicates = "count",
    ) -> None:
        if labels is not None and not labels:
            raise ConfigError("labels must not be empty; set a column, a list of 0/1 columns, or null")
        if delimiter == "":
            raise ConfigError("delimiter must be text between labels, got ''; set it to null if the labels are a list")
        if isinstance(attributes, str):
            raise ConfigError(f"attributes must be a list of columns, got {attributes!r}; set [{attributes}]")
        for names in (labels or (), attributes):
            if not isinstance(names, str) and len(set(names)) < len(names):
                raise ConfigError(f"columns must be different, got {', '.join(names)}; remove it")
        self.root: Path = Path(root)
        self.text = text
        self.labels = labels if isinstance(labels, str) else tuple(labels or ())
        self.id = id
        self.group = group
        self.delimiter = delimiter
        self.attributes = tuple(attributes)
        self.near_duplicates = check_near_duplicates(near_duplicates)

    def check(self) -> None:
        """Check also that the file has the columns, as far as its beginning shows."""
        super().check()
        check_columns(self.root, self._columns())

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: the file does not exist.
            DataError: also if a 0/1 column has another value, an id or group is empty, or an id is on different rows.
        """
        rows = table_rows.numbered_rows(self.root, self._columns(), self._lists())
        kept = table_rows.rows_with_text(self.root, rows, self.text)
        frame = kept.select(
            *table_rows.identity(self.root, kept, self.id, self.group),
            pl.col(self.text).alias("text"),
            self._labels(kept).alias("labels"),
            table_rows.attribute_struct(self.attributes),
        )
        distinct = table_rows.distinct_documents(self.root, frame)
        counts = [
            (rows.height - kept.height, f"of {rows.height:,} rows dropped: empty text"),
            (frame.height - distinct.height, f"of {rows.height:,} rows dropped: duplicates"),
            (distinct.filter(pl.col("labels").list.len() == 0).height, f"of {distinct.height:,} notes have no label"),
        ]
        return Records(distinct, tuple(count_notices(counts)))

    def fingerprint(self) -> str:
        return digest_files([self.root])

    def _columns(self) -> list[str]:
        labels = [self.labels] if isinstance(self.labels, str) else list(self.labels)
        named = [self.text, *labels, *(c for c in (self.id, self.group) if c is not None), *self.attributes]
        return list(dict.fromkeys(named))

    def _lists(self) -> list[str]:
        return [self.labels] if isinstance(self.labels, str) and self.delimiter is None else []

    def _labels(self, rows: pl.DataFrame) -> pl.Expr:
        if not self.labels:
            return pl.lit([], dtype=pl.List(pl.String))
        if not isinstance(self.labels, str):
            return self._flag_labels(rows)
        column = pl.col(self.labels)
        names = column if self.delimiter is None else column.str.split(self.delimiter)
        stripped = names.list.eval(pl.element().str.strip_chars())
        filled = stripped.list.eval(pl.element().filter(pl.element().str.len_bytes() > 0))
        return filled.list.unique(maintain_order=True).fill_null(pl.lit([], dtype=pl.List(pl.String)))

    def _flag_labels(self, rows: pl.DataFrame) -> pl.Expr:
        for column in self.labels:
            valid = _flag(column).is_in([*_TRUE, *_FALSE]).fill_null(False)
            table_rows.require_rows(self.root, rows, valid, column, "0, 1, true or false")
        marks = [pl.when(_flag(column).is_in(_TRUE)).then(pl.lit(column)) for column in self.labels]
        return pl.concat_list(marks).list.drop_nulls()


def _flag(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars().str.to_lowercase()
