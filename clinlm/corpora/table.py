"""A table of documents: CSV, TSV, JSON, JSON Lines, Parquet or Excel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora import table_rows
from clinlm.corpora.base import Corpus, NearDuplicates, Records, check_near_duplicates, count_notices, digest_files
from clinlm.corpora.label_cells import UNCERTAIN, Uncertain, choose_labels, read_flags, read_labels
from clinlm.files import pandas_values
from clinlm.files.shards import are_there, shards
from clinlm.files.sources import check_columns, table_notices

SPLIT_NAMES: Final = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Value of a split column, in lower case -> the split."""


@final
class Table(Corpus):
    """One record per row of a file; the settings name its columns. Records keep the file's order.

    The ending of the name gives the format: .csv, .tsv, .json, .jsonl, .ndjson (these also with .gz), .parquet, .arrow
    or .xlsx. The files of a folder, of a pattern, or of a dataset that `datasets` saved, are one table
    (`clinlm.files.shards`). Every value is read as text: an id of 007 stays 007. `clinlm.files.sources` finds the
    separator of columns.

    - Rows with empty text (or white space only, or a word of `missing`) are dropped and counted.
    - Labels: see `clinlm.corpora.label_cells`. Rows without labels stay; those of a column are counted.
    - A row that repeats another in every column used is dropped and counted. Any other row with a repeated id is an
      error, since its labels and text contradict the first.
    - Empty ids and groups are errors, empty attributes are null.

    Args:
        root: the file, folder or pattern.
        text: the column with the text, or several, of which the filled ones are joined.
        labels: the column with the labels of a row, or the 0/1 columns, one per label and named like it; None for
            notes without labels.
        id: the column that names a document; None numbers the data rows from 1.
        group: the column of what must not span two splits, such as the patient; None takes the id.
        delimiter: separates the labels of a cell of text; None if it is one label. Lists need none.
        attributes: columns for reports by subgroup.
        near_duplicates: `count`, `merge` or `ignore` those of other groups; see `clinlm.corpora.repeats`.
        split: the column with the split of a row: train, validation (val, dev) or test; None lets the task draw them.
        include: the labels to keep; None for all.
        exclude: labels to remove, such as `normal`: their notes have no label then, unless they have others.
        separator: between the texts of several columns.
        missing: cells that mean no text or no label.
        uncertain: what an empty cell or a -1 of a 0/1 column means: `refuse`, `negative` (as 0), `drop` (its row).
        encoding: of a text file that is neither UTF-8 nor has a byte order mark, such as cp1252.

    Raises:
        ConfigError: a setting has the wrong type.
    """

    def __init__(
        self,
        root: str | Path,
        text: str | Sequence[str],
        labels: str | Sequence[str] | None,
        id: str | None = None,
        group: str | None = None,
        delimiter: str | None = None,
        attributes: Sequence[str] = (),
        near_duplicates: NearDuplicates = "count",
        split: str | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        separator: str = "\n\n",
        missing: Sequence[str] = pandas_values.MISSING,
        uncertain: Uncertain = "refuse",
        encoding: str | None = None,
    ) -> None:
        if labels is not None and not labels:
            raise ConfigError("labels must not be empty; set a column, a list of 0/1 columns, or null")
        if delimiter == "":
            raise ConfigError("delimiter must be what separates labels, got ''; set null if a cell is one label")
        if uncertain not in UNCERTAIN:
            raise ConfigError(f"uncertain must be one of {', '.join(UNCERTAIN)}, got {uncertain!r}; set one of them")
        self.root: Path = Path(root)
        self.text = _names("text", [text] if isinstance(text, str | int | float) else text)
        single = isinstance(labels, str | int | float)
        self.labels = str(labels) if single else _names("labels", labels or ())
        self.id, self.group, self.split = (None if c is None else str(c) for c in (id, group, split))
        self.delimiter, self.separator, self.uncertain, self.encoding = delimiter, separator, uncertain, encoding
        self.attributes = _names("attributes", attributes)
        self.include = None if include is None else _names("include", include)
        self.exclude, self.missing = _names("exclude", exclude), _names("missing", missing)
        self.near_duplicates = check_near_duplicates(near_duplicates)
        if not self.text or self.labels in self.text:
            raise ConfigError(f"text and labels must be different columns, got {', '.join(self.text)}; set another")
        table_rows.check_roles(self.text, id=self.id, group=self.group, split=self.split)
        for attribute in self.attributes:
            table_rows.check_roles(self.text, attributes=attribute)

    def check(self) -> None:
        """Check also that the file has the columns, as far as its beginning shows."""
        if not are_there(self.root):
            super().check()
        check_columns(self.root, self._columns(), self.encoding)

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: the file does not exist.
            DataError: also if a 0/1 column has another value, an id, group or split is empty, an id is on different
                rows, or a group in several splits.
        """
        lists = [self.labels] if isinstance(self.labels, str) else []
        rows = table_rows.numbered_rows(self.root, self._columns(), lists, encoding=self.encoding)
        notices = table_notices(self.root, self._columns(), self.encoding)
        text = table_rows.joined_text(self.text, self.separator, self.missing)
        kept = table_rows.rows_with_text(self.root, rows.with_columns(text), self.text)
        notices += count_notices([(rows.height - kept.height, f"of {rows.height:,} rows dropped: empty text")])
        labelled, labels, told = self._labels(kept)
        notices += told
        frame = labelled.select(
            *table_rows.identity(self.root, labelled, self.id, self.group),
            pl.col(table_rows.TEXT).alias("text"),
            labels.alias("labels"),
            table_rows.attribute_struct(self.attributes),
            pl.lit("").alias("split") if self.split is None else _split(self.root, labelled, self.split),
        )
        distinct = table_rows.distinct_documents(self.root, frame)
        unlabelled = distinct.filter(pl.col("labels").list.len() == 0).height if isinstance(self.labels, str) else 0
        counts = [
            (frame.height - distinct.height, f"of {rows.height:,} rows dropped: duplicates"),
            (unlabelled, f"of {distinct.height:,} notes have no label in their cell"),
        ]
        splits = None if self.split is None else table_rows.declared_splits(self.root, distinct)
        return Records(distinct.drop("split"), (*notices, *count_notices(counts)), splits)

    def fingerprint(self) -> str:
        return digest_files(shards(self.root))

    def _columns(self) -> list[str]:
        labels = [self.labels] if isinstance(self.labels, str) else list(self.labels)
        named = [c for c in (self.id, self.group, self.split) if c is not None]
        return list(dict.fromkeys([*self.text, *labels, *named, *self.attributes]))

    def _labels(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, list[str]]:
        """Return the rows to keep, their labels, and notices."""
        if not self.labels:
            return rows, pl.Series([[]] * rows.height, dtype=pl.List(pl.String)), []
        if isinstance(self.labels, str):
            labels, notices = read_labels(self.root, rows, self.labels, self.delimiter, self.missing)
        else:
            rows, labels, notices = read_flags(self.root, rows, self.labels, self.uncertain, self.missing)
        labels, told = choose_labels(labels, self.include, self.exclude)
        return rows, labels, [*notices, *told]


def _names(setting: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return names as text: `labels=[4019,401.9]` gives numbers."""
    if isinstance(names, str):
        raise ConfigError(f"{setting} must be a list, got {names!r}; set [{names}]")
    texts = tuple(map(str, names))
    if len(set(texts)) < len(texts):
        raise ConfigError(f"{setting} must name each once, got {', '.join(texts)}; remove it")
    return texts


def _split(path: Path, rows: pl.DataFrame, column: str) -> pl.Expr:
    plain = rows[column].str.strip_chars().str.to_lowercase()
    found = plain.replace_strict(SPLIT_NAMES, default=None, return_dtype=pl.String)
    if found.is_null().any():
        others = rows[column].fill_null("").filter(found.is_null()).n_unique()  # not shown: maybe text of notes
        there = "".join(f"{value}, " for value in found.drop_nulls().unique().sort())
        raise DataError(
            f"the column {column!r} must hold train, validation (or val, dev) and test, got {there}"
            f"{others:,} other value{'s' * (others > 1)} on {found.null_count():,} rows of {path.name}; rename them, "
            "or set task.corpus.split to null to draw the splits"
        )
    return pl.lit(found).alias("split")
