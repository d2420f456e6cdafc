"""Laws of what pandas makes of a cell."""

from collections.abc import Sequence

import polars as pl
import pytest

from clinlm.files.pandas_values import MISSING, infer_text, non_missing, require_whole_numbers, whole_number


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (["0389", "389"], ["389", "389"]),
        ([" 66 ", "+07", "-1"], ["66", "7", "-1"]),
        (["0066", "NA", "389"], ["66.0", None, "389.0"]),
        (["0389", "V45"], ["0389", "V45"]),
        (["0389", "V45", None], ["0389", "V45", None]),
        (["0389", " V45 "], ["0389", " V45 "]),
        (["25.5", "04"], ["25.5", "4.0"]),
        (["1e2", ".5"], ["100.0", "0.5"]),
        (["E8889", "8"], ["E8889", "8"]),
        (["8E", "8"], ["8E", "8"]),
        ([None, ""], [None, None]),
        ([], []),
    ],
)
def test_a_column_takes_one_type(cells: Sequence[str | None], texts: Sequence[str | None]) -> None:
    assert infer_text(pl.Series("c", cells, dtype=pl.String), 5).to_list() == texts


def test_every_block_of_rows_takes_its_own_type_where_one_is_text() -> None:
    rows = 8  # 100,000 columns make blocks of 8 rows
    blocks = [["01"] * rows, ["V1"] * rows, ["02"] * (rows - 1) + [""], ["03"]]
    cells = pl.Series([cell for block in blocks for cell in block])
    texts = ["1"] * rows + ["V1"] * rows + ["2.0"] * (rows - 1) + [None] + ["3"]
    assert infer_text(cells, 100_000).to_list() == texts
    numbers = cells.gather([*range(rows), *range(2 * rows, len(cells))])
    assert infer_text(numbers, 100_000).to_list() == ["1.0"] * rows + ["2.0"] * (rows - 1) + [None] + ["3.0"]


def test_missing_is_the_whole_cell() -> None:
    frame = pl.DataFrame({"c": [*MISSING, None, " NA", "none", "x"]})
    assert frame.select(non_missing("c"))["c"].drop_nulls().to_list() == [" NA", "none", "x"]


def test_whole_numbers() -> None:
    frame = pl.DataFrame({"c": ["7", " 7 ", "7.0", "7.5", "x", "NA", None, "inf"]})
    assert frame.select(whole_number("c"))["c"].to_list() == [7, 7, 7, None, None, None, None, None]
    with pytest.raises(ValueError, match="c must be a whole number, T has 3 rows"):
        require_whole_numbers(frame, "c", "T")
