"""The first sheet of an Excel file (.xlsx), as text."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.config.extras import imported
from clinlm.files.columns import require_header
from clinlm.files.record import Position, Record, Source


@final
class ExcelSource(Source):
    """Notes in the first sheet, one a row; rows count as lines. Memory holds the columns used.

    Args:
        text: column of the text.
        id: column of the id, required of every row; None reads `id` where present.

    Raises:
        DataError: the file is not .xlsx, or lacks a column.
        MissingExtraError: the library is not installed.
    """

    def __init__(self, path: Path, text: str, id: str | None) -> None:
        self.needs_id = id is not None
        names = excel_columns(path)[0]
        name = id or ("id" if "id" in names else None)
        frame = read_excel(path, list(dict.fromkeys([text, *([] if name is None else [name])])))
        self._texts, self._ids = frame[text].to_list(), [None] * frame.height if name is None else frame[name].to_list()
        self.total = frame.height

    def records(self, start: Position) -> Iterator[Record]:
        for row in range(start.offset, len(self._texts)):
            after = Position(row + 1, row + 1)
            yield Record.checked(row + 1, self._ids[row], self._texts[row], after, self.needs_id)


def read_excel(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read columns of the first sheet as strings: whole numbers without a point, dates as in ISO 8601.

    Raises:
        MissingFileError: the file does not exist.
        DataError: it is not .xlsx, or lacks a column.
        MissingExtraError: the library is not installed.
    """
    frame = _first_sheet(path)[0]
    frame = frame.rename({name: name.strip() for name in frame.columns})
    require_header(path, frame.columns, columns)
    return frame.select(columns)


def excel_columns(path: Path) -> tuple[list[str], list[str]]:
    """Return the columns of the first sheet, and a notice if there are other sheets; errors as of `read_excel`."""
    frame, sheets = _first_sheet(path, 0)
    more = [f"only the first of {len(sheets)} sheets of {path.name} is read: {sheets[0]}"] if len(sheets) > 1 else []
    return [name.strip() for name in frame.columns], more


def _first_sheet(path: Path, rows: int | None = None) -> tuple[pl.DataFrame, list[str]]:
    if not path.is_file():
        raise MissingFileError(f"the input must be a file, got {path}, which does not exist; set root to the file")
    fastexcel: Any = imported("fastexcel", "excel")
    try:
        book = fastexcel.read_excel(path)
        sheet = book.load_sheet(0, n_rows=rows, dtypes="string")
        return sheet.to_polars(), list(book.sheet_names)
    except fastexcel.FastExcelError as error:
        raise DataError(
            f"an .xlsx file must be an Excel workbook, got {path.name}, which cannot be read ({type(error).__name__}); "
            "save it again, or as .csv"
        ) from None
