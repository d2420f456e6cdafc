"""Labels of documents as people write them: lists, joined text, 0/1 columns; and what means no label."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import polars as pl

from clinlm.config.errors import DataError
from clinlm.config.near_names import did_you_mean
from clinlm.corpora import table_rows
from clinlm.corpora.base import count_notice, count_notices
from clinlm.files.columns import shown

Uncertain = Literal["refuse", "negative", "drop"]
"""What an empty cell or a -1 of a 0/1 column means: an error, a 0, or a row to leave out."""

UNCERTAIN = get_args(Uncertain)

_POSITIVE = {"number": ("1", "1.0", "true"), "word": ("yes",), "letter": ("y",), "logical": ("t",)}
_NEGATIVE = {"number": ("0", "0.0", "false"), "word": ("no",), "letter": ("n",), "logical": ("f",)}
_UNKNOWN = ("-1", "-1.0")

_ITEM = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|None|null|nan|NaN"""
_LIST = re.compile(
    rf"\s*(?:\[\s*(?:(?:{_ITEM})(?:\s*,\s*|\s+|(?=\s*\])))*\s*\]|[({{]\s*(?:(?:{_ITEM})(?:\s*,\s*|(?=\s*[)}}])))+\s*[)}}])\s*"
)
_ITEMS = re.compile(_ITEM)
_ESCAPE = re.compile(r"\\(.)")

LABEL_CHARACTERS: Final = 64
"""Most characters of a label: what is longer may be part of a note, and labels stand in reports and artifacts."""

_OCCURRENCES, _UNIQUE_SHARE = 20, 0.9
"""From so many labels on, so large a share of labels that occur once is that of ids or notes."""


def read_labels(
    path: Path, rows: pl.DataFrame, column: str, delimiter: str | None, missing: Collection[str]
) -> tuple[pl.Series, list[str]]:
    """Return the labels of every row (list[str], stripped, distinct), and notices.

    A column of lists has lists. In a column of text a cell is a list as Python, JSON or NumPy write it if all filled
    cells are; else its labels are separated by `delimiter`, or the cell is one label without it.

    Args:
        path: of the table, for messages.
        rows: of the table, with `clinlm.corpora.table_rows.ROW`.
        missing: labels that mean no label, as in `pandas`.

    Raises:
        DataError: some cells are lists and others are not, or the labels are no names but texts or ids.
    """
    cells = rows[column]
    if cells.dtype == pl.String:
        cells = _listed(path, rows, column, delimiter, missing)
    stripped = cells.list.eval(pl.element().str.strip_chars())
    filled = stripped.list.eval(pl.element().filter(pl.element().str.len_bytes() > 0))
    named = filled.list.eval(pl.element().filter(~pl.element().is_in(list(missing))))
    found = named.list.unique(maintain_order=True).fill_null(pl.Series([[]], dtype=pl.List(pl.String)))
    _require_names(path, column, found)
    return found, [*_missing_notice(filled, missing), *_delimiter_notice(rows[column], delimiter, found)]


def read_flags(
    path: Path, rows: pl.DataFrame, columns: Sequence[str], uncertain: Uncertain, missing: Collection[str]
) -> tuple[pl.DataFrame, pl.Series, list[str]]:
    """Return the rows to keep, their labels (those of `columns` that hold) and notices.

    A column holds 0 and 1 (also 0.0, 1.0, true, false), or yes and no, or y and n, or t and f, in any case.

    Raises:
        DataError: it holds something else.
    """
    texts = {c: rows[c].str.strip_chars().str.to_lowercase() for c in columns}
    empty = [*(value.lower() for value in missing), *_UNKNOWN, ""]
    unknown = {c: (texts[c].is_null() | texts[c].is_in(empty)) for c in columns}
    positive = {}
    for column in columns:
        kind = next(
            (name for name, yes in _POSITIVE.items() if texts[column].is_in([*yes, *_NEGATIVE[name]]).any()), "number"
        )
        positive[column] = texts[column].is_in(_POSITIVE[kind]).fill_null(False)
        known = positive[column] | texts[column].is_in(_NEGATIVE[kind]).fill_null(False)
        wrong = ~(known | unknown[column]) if uncertain != "refuse" else ~known
        needed = "0, 1, true or false (or yes and no) on every row"
        if (unknown[column] & wrong).any():
            needed += " (uncertain=negative reads empty cells and -1 as 0, uncertain=drop leaves these rows out)"
        table_rows.require_no_rows(path, rows.filter(wrong)[table_rows.ROW].to_list(), column, needed)
    marks = pl.DataFrame({c: positive[c] & ~unknown[c] for c in columns})
    labels = marks.select(
        pl.concat_list([pl.when(pl.col(c)).then(pl.lit(c)) for c in columns]).list.drop_nulls().alias("labels")
    )["labels"]
    doubtful = pl.DataFrame(unknown).select(pl.any_horizontal(pl.all()).alias("any"))["any"]
    what = "an empty cell or -1 is read as 0" if uncertain == "negative" else "dropped: an empty cell or -1"
    notices = count_notice(int(doubtful.sum()), rows.height, f"rows: {what}")
    if uncertain == "drop":
        rows, labels = rows.filter(~doubtful), labels.filter(~doubtful)
    return rows, labels, notices


def choose_labels(
    labels: pl.Series, include: Sequence[str] | None, exclude: Sequence[str]
) -> tuple[pl.Series, list[str]]:
    """Return the labels without those to leave out, and notices.

    Raises:
        DataError: a name is no label.
    """
    known = labels.explode().drop_nulls().unique().sort().to_list()
    for name in (*(include or ()), *exclude):
        if name not in known:
            near = did_you_mean(name, known) or f"; it has {shown(known)}"
            raise DataError(f"include and exclude must name labels of the column, got {name!r}{near}")
    kept = [name for name in known if name not in exclude and (include is None or name in include)]
    chosen = labels.list.eval(pl.element().filter(pl.element().is_in(kept)))
    changed = int((chosen.list.len() < labels.list.len()).sum())
    left = shown([name for name in known if name not in kept])
    return chosen, count_notice(changed, len(labels), f"notes have labels that are left out: {left}")


def _listed(path: Path, rows: pl.DataFrame, column: str, delimiter: str | None, missing: Collection[str]) -> pl.Series:
    """Return a column of text as lists."""
    cells = rows[column]
    stripped = cells.str.strip_chars().fill_null("")
    filled = (stripped != "") & ~stripped.is_in(list(missing))
    listed = filled & stripped.str.contains(r"^\[(?s:.)*\]$")
    quoted = pl.Series([bool(_LIST.fullmatch(cell)) for cell in stripped.to_list()], dtype=pl.Boolean)
    if listed.any() or (filled & quoted).any():
        if (filled & quoted).equals(filled):
            return pl.Series(
                [_items(cell) if quoted[n] else [] for n, cell in enumerate(stripped.to_list())],
                dtype=pl.List(pl.String),
            )
        if listed.any():
            odd = rows.filter(filled & ~quoted)[table_rows.ROW].to_list()
            needed = "lists with quotes around every label, such as ['x', 'y'], on every row if on one"
            table_rows.require_no_rows(path, odd, column, needed)
    return cells.str.split(delimiter) if delimiter is not None else cells.reshape((-1, 1)).arr.to_list()


def _items(cell: str) -> list[str]:
    found = []
    for item in _ITEMS.findall(cell):
        if item[0] in "'\"":
            found.append(_ESCAPE.sub(r"\1", item[1:-1]))
        elif item not in ("None", "null", "nan", "NaN"):
            found.append(item)
    return found


def _missing_notice(filled: pl.Series, missing: Collection[str]) -> list[str]:
    counts = Counter(item for item in filled.explode().drop_nulls().to_list() if item in missing)
    if not counts:
        return []
    names = ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())
    return [f"{counts.total():,} labels are read as no label: {names}; task.corpus.missing=[] makes them labels"]


def _delimiter_notice(cells: pl.Series, delimiter: str | None, labels: pl.Series) -> list[str]:
    """Suspect another delimiter where the parts of labels are labels themselves."""
    if cells.dtype != pl.String:
        return []
    names = set(labels.explode().drop_nulls().to_list())
    counts = []
    for other in ",;|":
        joined = [name for name in names if other in name and {part.strip() for part in name.split(other)} <= names]
        counts.append(
            (len(joined), f"labels are others joined by {other!r}: should delimiter be {other!r}, not {delimiter!r}?")
        )
    return count_notices(counts)


def _require_names(path: Path, column: str, labels: pl.Series) -> None:
    every = labels.explode().drop_nulls()
    if every.is_empty():
        return
    names = every.unique()
    long = names.filter((names.str.len_chars() > LABEL_CHARACTERS) | names.str.contains("\n"))
    if len(long):
        most = int(str(long.str.len_chars().max()))
        raise DataError(
            f"labels must be names of at most {LABEL_CHARACTERS} characters on one line, got {len(long):,} of "
            f"{len(names):,} that are longer (up to {most:,}: titles of codes, or text?) in the "
            f"column {column!r} of {path.name}; shorten them (to codes), or set another column"
        )
    if len(every) >= _OCCURRENCES and len(names) / len(every) > _UNIQUE_SHARE:
        raise DataError(
            f"labels must be shared by several notes, got {len(names):,} different ones among {len(every):,} in the "
            f"column {column!r} of {path.name} (is it an id or a text?); set another column, set task.corpus.delimiter "
            "if cells hold several labels, or use coarser codes"
        )
