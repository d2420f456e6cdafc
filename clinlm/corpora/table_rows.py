"""Rules by which the rows of a user's table become documents."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.files.columns import shown
from clinlm.files.record import ID_CHARACTERS, ID_WORDS
from clinlm.files.sources import read_table

ROW = "\x00row"
"""Column of the numbers of the data rows, from 1; no user's column has that name."""

TEXT = "\x00text"
"""Column of the joined text."""

OLDEST_AGE: Final = 90
"""From here on every age is "90+", as HIPAA's safe harbor has it (45 CFR 164.514(b)(2))."""

_SHOWN = 5


def check_roles(text: Sequence[str], **roles: str | None) -> None:
    """Check that no column of text is used as something that is shown: the id, the group, the split.

    Raises:
        ConfigError: one is.
    """
    for role, column in roles.items():
        if column in text:
            raise ConfigError(f"{role} must be another column than text, got {column!r} for both; set another, or null")


def numbered_rows(
    path: Path,
    columns: Sequence[str],
    lists: Sequence[str] = (),
    nested: Sequence[str] = (),
    encoding: str | None = None,
) -> pl.DataFrame:
    """Read the columns of a table, and `ROW`; see `clinlm.files.sources.read_table`."""
    return read_table(path, columns, lists, nested, encoding).with_row_index(ROW, offset=1)


def joined_text(columns: Sequence[str], separator: str, missing: Collection[str]) -> pl.Expr:
    """Return `TEXT`: the filled cells of some columns, joined. White space and `missing` do not fill a cell."""
    stripped = {column: pl.col(column).str.strip_chars() for column in columns}
    filled = [
        pl.when((stripped[c] != "") & ~stripped[c].is_in(list(missing))).then(pl.col(c)).alias(c) for c in columns
    ]
    return pl.concat_str(filled, separator=separator, ignore_nulls=True).alias(TEXT)


def is_blank(column: str) -> pl.Expr:
    """Return whether a cell is missing, or white space alone."""
    return ~pl.col(column).str.contains(r"\S").fill_null(False)


def rows_with_text(path: Path, rows: pl.DataFrame, columns: Sequence[str], text: str = TEXT) -> pl.DataFrame:
    """Return the rows whose column `text`, made of `columns`, holds more than white space.

    Raises:
        DataError: there are none.
    """
    kept = rows.filter(~is_blank(text))
    if not kept.height:
        names = ", ".join(map(repr, columns))
        raise DataError(
            f"a corpus must have a note, got {rows.height:,} rows without text in the column {names} of {path.name}; "
            "set another column"
        )
    return kept


def identity(path: Path, rows: pl.DataFrame, id: str | None, group: str | None) -> list[pl.Expr]:
    """Return the columns `id` (without one the row number) and `group` (without one the id) of documents.

    Raises:
        DataError: a row has none, or an id that may be a note: ids are shown, and written beside answers.
    """
    for column in (id, group):
        if column is not None:
            require_rows(path, rows, ~is_blank(column), column, "a value on every row")
    if id is not None:
        short = (pl.col(id).str.len_chars() <= ID_CHARACTERS) & (pl.col(id).str.count_matches(r"\S+") <= ID_WORDS)
        needed = f"ids of at most {ID_CHARACTERS} characters and {ID_WORDS} words, no text of notes"
        require_rows(path, rows, short, id, needed)
    name = pl.col(ROW).cast(pl.String) if id is None else pl.col(id)
    return [name.alias("id"), (name if group is None else pl.col(group)).alias("group")]


def age_text(years: pl.Expr) -> pl.Expr:
    """Return `age`, years as text, from `OLDEST_AGE` on "90+"; null where it is missing or negative."""
    oldest = pl.when(years >= OLDEST_AGE).then(pl.lit(f"{OLDEST_AGE}+"))
    return oldest.when(years >= 0).then(years.cast(pl.String)).alias("age")


def attribute_struct(attributes: Sequence[str]) -> pl.Expr:
    """Return the struct `attributes` of these columns, empty values null; without any, of the one field `none`."""
    if not attributes:
        return pl.struct(pl.lit(None, dtype=pl.String).alias("none")).alias("attributes")
    filled = [pl.when(~is_blank(c)).then(pl.col(c)).alias(c) for c in attributes]
    return pl.struct(filled).alias("attributes")


def distinct_documents(path: Path, documents: pl.DataFrame) -> pl.DataFrame:
    """Return the documents; of those that are equal in everything but `ROW`, the first.

    Raises:
        DataError: an id remains on several rows.
    """
    kept = documents.unique([c for c in documents.columns if c != ROW], keep="first", maintain_order=True)
    twice = kept.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True).to_list()
    if twice:
        raise DataError(
            f"an id must name one document, got {len(twice):,} ids in {path.name} on rows that differ in text, labels, "
            f"group or attributes (first: {', '.join(twice[:_SHOWN])}); merge these rows, or set id to null"
        )
    return kept


def declared_splits(path: Path, documents: pl.DataFrame) -> dict[str, str]:
    """Return the split of every group, of documents with the columns `group` and `split`.

    Raises:
        DataError: a group is in several.
    """
    splits = documents.group_by("group", maintain_order=True).agg(pl.col("split").unique())
    several = splits.filter(pl.col("split").list.len() > 1)["group"].to_list()
    if several:
        raise DataError(
            f"a group must be in one split, got {len(several):,} groups of {path.name} in several (first: "
            f"{shown(several[:_SHOWN])}); correct the split column, set task.corpus.split to null to draw splits, "
            "or task.corpus.group to null to test on patients known from training"
        )
    return dict(zip(splits["group"], splits["split"].list.first(), strict=True))


def require_rows(path: Path, rows: pl.DataFrame, condition: pl.Expr, column: str, needed: str) -> None:
    """Raise a DataError that lists the first rows for which `condition` is false, unless it holds for all."""
    require_no_rows(path, rows.filter(~condition)[ROW].to_list(), column, needed)


def require_no_rows(path: Path, rows: Sequence[int], column: str, needed: str) -> None:
    """Raise a DataError that lists the first of these broken rows, unless there are none."""
    if rows:
        raise DataError(
            f"the column {column!r} must hold {needed}, got something else on {len(rows):,} rows of {path.name} "
            f"(first data rows: {', '.join(map(str, rows[:_SHOWN]))}); repair them or set another column"
        )
