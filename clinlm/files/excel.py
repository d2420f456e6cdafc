"""The first sheet of an Excel file (.xlsx), as text."""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, final
from xml.etree import ElementTree

import polars as pl

from clinlm.config.errors import DataError, MissingFileError
from clinlm.config.extras import imported
from clinlm.files.columns import require_header
from clinlm.files.record import Position, Record, Source

_PLACE: Final = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]*)([0-9]+)["']""")
"""Where a cell or a row says that it stands."""
_UNUSUAL: Final = re.compile(rb"""\sr\s*=\s*["'](?:[A-Za-z]{2}|[A-Za-z]*[0-9]{7})""")
"""A place beyond column Z, or from row 1,000,000 on: without one there are not too many cells."""
_ROWS: Final = 2**20
"""Most rows of a sheet, as Excel has it."""
_CELLS: Final = 2**26
"""Most cells of a table, empty ones too: about two gigabytes."""
_FAR, _TAIL = 10**9, 64


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
    _require_table(path)
    try:
        book = fastexcel.read_excel(path)
        sheet = book.load_sheet(0, n_rows=rows, dtypes="string")
        return sheet.to_polars(), list(book.sheet_names)
    except fastexcel.FastExcelError as error:
        raise DataError(
            f"an .xlsx file must be an Excel workbook, got {path.name}, which cannot be read ({type(error).__name__}); "
            "save it again, or as .csv"
        ) from None


def _require_table(path: Path) -> None:
    """Refuse a sheet with a cell far from the others: the library makes every cell between, and ends the process.

    Raises:
        DataError: there is one, or the file is no zip.
    """
    rows, letters = 0, set[bytes]()
    try:
        with zipfile.ZipFile(path) as book:
            for part in _first_parts(book):
                with book.open(part) as stream:
                    unusual = any(_UNUSUAL.search(block) for block in _blocks(stream))
                with book.open(part) as stream:
                    for block in _blocks(stream) if unusual else ():
                        for columns, row in set(_PLACE.findall(block)):
                            letters.add(columns)
                            rows = max(rows, int(row) if len(row) < 10 else _FAR)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise DataError(
            f"an .xlsx file must be an Excel workbook, got {path.name}, which cannot be read ({type(error).__name__}); "
            "save it again, or as .csv"
        ) from None
    width = max(map(_number, letters), default=0)
    if rows > _ROWS or rows * width > _CELLS:
        raise DataError(
            f"a sheet must hold a table, the first of {path.name} has cells up to row {rows:,} and column {width:,}; "
            "delete what stands far from the table, or save the table as .csv"
        )


def _first_parts(book: zipfile.ZipFile) -> list[str]:
    """Return the part of the first sheet; all sheets where the book does not say which it is."""
    try:
        sheets, links = (
            ElementTree.fromstring(book.read(name)) for name in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels")
        )
        first = next(one for one in sheets.iter() if one.tag.rpartition("}")[2] == "sheet")
        id = next(value for name, value in first.attrib.items() if name.endswith("}id"))
        target = next(one.attrib["Target"] for one in links if one.attrib.get("Id") == id)
    except (ElementTree.ParseError, LookupError, StopIteration):
        target = ""
    part = posixpath.normpath(posixpath.join("/xl", target)).removeprefix("/")
    return [part] if part in book.namelist() else [name for name in book.namelist() if "worksheets/" in name.lower()]


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield a stream in blocks that begin with the end of the one before."""
    block = b""
    while data := stream.read(2**20):
        block = block[-_TAIL:] + data
        yield block


def _number(letters: bytes) -> int:
    """Return the number of a column, from 1; 0 for no letters."""
    number = 0
    for letter in letters.upper()[:4]:
        number = 26 * number + letter - ord("A") + 1
    return number
