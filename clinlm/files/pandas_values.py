"""Reads cells as `pandas.read_csv` does: missing, a number, or text. Published definitions depend on it."""

import re
from collections.abc import Iterator

import polars as pl

from clinlm.config.errors import DataError

MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Cells that pandas (from 2.0 on) reads as missing, quoted or not."""

_SPACE = "[ \t\n\v\f\r]*"
_INTEGER = re.compile(rf"{_SPACE}[+-]?[0-9]{{1,18}}{_SPACE}")
_NUMBER = re.compile(rf"{_SPACE}[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?{_SPACE}")
_CELLS = 2**20
"""Cells of a block, for which pandas infers the types of columns; see `_rows`."""


def non_missing(column: str) -> pl.Expr:
    """Return the column of strings, null where pandas reads a missing value."""
    return pl.when(~pl.col(column).is_in(MISSING)).then(pl.col(column))


def whole_number(column: str) -> pl.Expr:
    """Return the column as whole numbers ("7", " 7", "7.0"), null where it is missing or something else."""
    stripped = non_missing(column).str.strip_chars(" \t\n\v\f\r")
    number = stripped.cast(pl.Float64, strict=False)
    integer = pl.when(number == number.round()).then(number).cast(pl.Int64, strict=False)
    return stripped.cast(pl.Int64, strict=False).fill_null(integer)


def no_whole_number(column: str) -> pl.Expr:
    """Return whether a cell of the column of strings is neither missing nor a whole number."""
    return non_missing(column).is_not_null() & whole_number(column).is_null()


def require_whole_numbers(frame: pl.DataFrame, column: str, table: str) -> None:
    """Raise a DataError if a cell of `column` (strings) is neither missing nor a whole number."""
    wrong = frame.filter(no_whole_number(column)).height
    if wrong:
        raise DataError(f"{column} must be a whole number, {table} has {wrong:,} rows with something else; repair them")


def infer_text(cells: pl.Series, width: int) -> pl.Series:
    """Return the text of a column of codes after pandas has inferred its type.

    A block of whole numbers loses its leading zeros ("0389" is 389); with a missing cell among them they turn into
    fractions ("66" is 66.0). A block with any other text keeps its cells. Numbers of all blocks take one
    type if all blocks are numbers, else each block keeps its own.

    Args:
        cells: as in the file.
        width: number of columns of the file: 5 make blocks of 131,072 rows.

    Returns:
        text, null where the cell is missing.
    """
    blocks = [_Block(cells.slice(start, rows)) for rows in [_rows(width)] for start in range(0, len(cells), rows)]
    fractions = all(block.numbers for block in blocks) and not all(block.integers for block in blocks)
    texts = [text for block in blocks for text in block.texts(fractions)]
    return pl.Series(cells.name, texts, dtype=pl.String)


class _Block:
    """A block of cells of a column, and their common type."""

    def __init__(self, cells: pl.Series) -> None:
        self.cells: list[str | None] = [None if cell in MISSING else cell for cell in cells]
        there = [cell for cell in self.cells if cell is not None]
        self.numbers = all(_NUMBER.fullmatch(cell) for cell in there)
        self.integers = len(there) == len(self.cells) and all(_INTEGER.fullmatch(cell) for cell in there)

    def texts(self, fractions: bool) -> Iterator[str | None]:
        for cell in self.cells:
            if cell is None or not self.numbers:
                yield cell
            else:
                yield str(int(cell)) if self.integers and not fractions else str(float(cell) + 0.0)  # -0 is 0


def _rows(width: int) -> int:
    """Return the rows of a block: the largest power of two below its cells over `width`, as in pandas."""
    rows = 1
    while rows * 2 < _CELLS // width:
        rows *= 2
    return rows
