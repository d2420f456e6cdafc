"""Headers of the pages of Parquet files: a damaged number of values ends no process."""

import re
from io import BytesIO
from itertools import product
from pathlib import Path

import polars as pl
import pytest

from clinlm.config.errors import DataError
from clinlm.files.parquet_pages import _chunks, _counts, check_pages
from clinlm.files.sources import read_table

ROWS = 97
"""Written as 2 x 97 = 194, two bytes: c2 01. Its last bit is the sign."""


def written(path: Path, **settings: object) -> Path:
    texts = [f"note {number}" for number in range(ROWS)]
    frame = pl.DataFrame({"text": texts, "labels": [["a"] * (number % 4) for number in range(ROWS)], "b": texts})
    frame.write_parquet(path, **settings)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("compression", ["zstd", "uncompressed", "gzip", "snappy"])
@pytest.mark.parametrize("size", [None, 10])
def test_pages_are_those_of_the_rows(compression: str, size: int | None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", compression=compression, row_group_size=size)
    check_pages(path)
    cells = ROWS + sum(max(1, number % 4) for number in range(ROWS)) + ROWS
    with path.open("rb") as file:
        assert sum(values for _, _, values in _chunks(file)) == cells
        counts = [*_counts(file)]
        assert len(counts) >= 3 and all(0 <= values <= most for values, most in counts)
    assert read_table(path, ["text"]).height == ROWS


@pytest.mark.parametrize("number", [b"\xc3\x01", b"\xc4\x01", b"\xc2\x7f"], ids=["negative", "one more", "thousands"])
def test_a_page_with_more_values_than_its_column_or_less_than_none_is_refused(number: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", compression="uncompressed")
    content = path.read_bytes()
    places = [found.start() + 1 for found in re.finditer(rb"\x15\xc2\x01\x15", content)]
    assert places
    told = []
    for place in places:
        path.write_bytes(content[:place] + number + content[place + 2 :])
        try:  # one value more in a dictionary, which no row has, changes nothing
            assert read_table(path, ["text"])["text"].to_list() == [f"note {row}" for row in range(ROWS)]
        except DataError as error:
            told.append(str(error))
    assert any("a page of a .parquet file must hold 0 to 97 values, as many as its column" in one for one in told)


def test_a_dictionary_may_have_values_that_no_row_has(tmp_path: Path) -> None:
    kinds = pl.Enum([f"kind {number}" for number in range(1000)])
    frame = pl.DataFrame({"text": ["a", "b", "c"], "kind": pl.Series(["kind 1", "kind 2", "kind 3"], dtype=kinds)})
    frame.write_parquet(tmp_path / "a.parquet")
    check_pages(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", ["text"])["text"].to_list() == ["a", "b", "c"]


def test_what_else_is_broken_is_left_to_the_reader(tmp_path: Path) -> None:
    content = written(tmp_path / "a.parquet").read_bytes()
    for broken in (b"", b"PAR1", content[:-1], content[:-200] + content[-8:], content[:4] + content[-400:]):
        (tmp_path / "b.parquet").write_bytes(broken)
        check_pages(tmp_path / "b.parquet")
        with pytest.raises(DataError, match="must be Parquet"):
            read_table(tmp_path / "b.parquet", ["text"])


def test_whatever_bit_is_changed_what_is_counted_are_numbers_or_nothing(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "a.parquet", compression="zstd", statistics=False).read_bytes())
    found = 0
    for place, bit in product(range(len(content)), range(8)):
        content[place] ^= 1 << bit
        found += sum(0 <= values <= most for values, most in _counts(BytesIO(content)))
        content[place] ^= 1 << bit
    assert found
