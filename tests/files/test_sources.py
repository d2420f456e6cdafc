"""Every line of a file is in exactly one record, whatever its bytes; and reading may go on after any of them."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.note_files import write_notes

from clinlm.files import delimited
from clinlm.files.delimited import DelimitedSource
from clinlm.files.json_lines import JsonLinesSource
from clinlm.files.record import Position, Record
from clinlm.files.sources import open_source

ROUGH = st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"1,b\n", b'2,"c"\n', b"\xff", b" "]))
OBJECTS = st.lists(
    st.sampled_from([b'{"id": 1, "text": "a"}', b"{", b"[]", b"\n", b"\r\n", b"\n", b" ", b"\xff", b"3"])
)
TEXTS = st.lists(st.text(max_size=20).filter(lambda text: text.strip()), max_size=5)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

BEGIN = Position()


def read(path: Path, start: Position = BEGIN, **columns: Any) -> list[Record]:
    return list(open_source(path, columns.get("text", "text"), columns.get("id")).records(start))


def covers(data: bytes, found: list[Record], first_line: int) -> None:
    """No line that is not blank is left out or read twice."""
    lines, done = data.split(b"\n"), first_line
    for record in found:
        assert record.line > done and not b"".join(lines[done : record.line - 1]).strip()
        done = record.after.line
    assert not b"".join(lines[done:]).strip()


@same_folder
@given(ROUGH, st.integers(1, 3))
def test_any_csv_is_covered_and_read_on_from_anywhere(tmp_path: Path, parts: list[bytes], vouched: int) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(b"id,text\n" + b"".join(parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "VOUCHED", vouched)
        found = read(path)
        # A carriage return alone is white space to us, but not blank to a reader of CSV.
        covers(path.read_bytes().replace(b"\r", b"").replace(b" ", b"x"), found, 1)
        for place, record in enumerate(found):
            assert read(path, record.after) == found[place + 1 :]


@same_folder
@given(OBJECTS)
def test_any_json_lines_are_covered_and_read_on_from_anywhere(tmp_path: Path, parts: list[bytes]) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b"".join(parts))
    found = read(path)
    covers(path.read_bytes(), found, 0)
    for place, record in enumerate(found):
        assert read(path, record.after) == found[place + 1 :]
    stream = JsonLinesSource(Path("-"), "text", None, io.BytesIO(path.read_bytes()))
    assert list(stream.records(Position())) == found


@same_folder
@given(TEXTS, st.sampled_from([".jsonl", ".jsonl.gz", ".csv", ".tsv", ".csv.gz", ".parquet"]), st.booleans())
def test_texts_arrive_as_they_were_written(tmp_path: Path, texts: list[str], suffix: str, mark: bool) -> None:
    path = write_notes([(f"n{number}", text) for number, text in enumerate(texts)], tmp_path / f"notes{suffix}")
    if mark and suffix in (".jsonl", ".csv", ".tsv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = read(path)
    assert [record.text for record in found] == texts and [record.id for record in found] == [
        f"n{number}" for number in range(len(texts))
    ]
    for place, record in enumerate(found):
        assert read(path, record.after) == found[place + 1 :]


@pytest.mark.parametrize(
    ("line", "id", "reason"),
    [
        ('{"id": 5, "text": "a"', None, "not JSON: invalid at character"),
        ('["a"]', None, "not a JSON object but a list"),
        ("[" * 100_000, None, "nested too deep"),
        ('{"id": 5}', "5", "no text"),
        ('{"id": "x", "text": null}', "x", "no text"),
        ('{"id": "x", "text": 12}', "x", "a number"),
        ('{"id": "x", "text": ["a"]}', "x", "a list"),
        ('{"text": " \\n\\t"}', "1", "empty"),
        ('{"text": "\\ud800"}', "1", "surrogate"),
        ('{"id": {}, "text": "a"}', None, "the id must be a string or a number, got a dict"),
        ('{"id": "a\\nb", "text": "a"}', None, "control characters"),
        (json.dumps({"id": "x" * 257, "text": "a"}), None, "257 characters"),
    ],
)
def test_what_is_no_note_is_rejected_with_its_reason(tmp_path: Path, line: str, id: str | None, reason: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(line + '\n{"text": "fine"}\n')
    wrong, fine = read(path)
    assert wrong.text is None and wrong.reason is not None and reason in wrong.reason
    assert (wrong.line, wrong.id) == (1, id)
    assert (fine.line, fine.id, fine.text, fine.reason) == (2, "2", "fine", None)


def test_an_id_is_kept_as_it_is_written_and_must_be_there_if_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"key": 1.50, "text": "a"}\n{"key": "007", "text": "b"}\n{"id": 9, "text": "c"}\n')
    assert [record.id for record in read(path, id="key")] == ["1.50", "007", None]
    assert read(path, id="key")[2].reason == "no id"
    assert [record.id for record in read(path)] == ["1", "2", "9"]


def test_broken_quotes_cost_their_neighbourhood_and_never_make_a_note_of_a_line_within_one(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    before, after = "".join(f"b{n},ok\n" for n in range(3)), "".join(f'a{n},"ok"\n' for n in range(80))
    path.write_text(f'id,text\n{before}x,"he said "no" and\nfever, cough\ncasts, falls\nleft"\n{after}')
    found = read(path)
    assert [record.id for record in found if record.text] == [
        *(f"b{n}" for n in range(3)),
        *(f"a{n}" for n in range(80)),
    ]
    assert [record.line for record in found if record.reason] == [5, 6, 7, 8]
    path.write_text(f'id,text\n{before}x,"never closed\n{after}')
    assert [record.line for record in read(path) if record.reason] == [5]


def test_a_record_with_another_number_of_fields_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("id,text\n1,a\n2\n3,b,c\n\n4,d\n")
    assert [(r.line, r.id) if r.text else (r.line, r.reason) for r in read(path)] == [
        (2, "1"),
        (3, "number of fields: 1, of the header: 2"),
        (4, "number of fields: 3, of the header: 2"),
        (6, "4"),
    ]


def test_what_is_too_long_is_rejected_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("delimited", "json_lines"):
        monkeypatch.setattr(f"clinlm.files.{module}.RECORD_BYTES", 100)
    lines = tmp_path / "notes.jsonl"
    lines.write_text('{"text": "a"}\n{"text": "' + "x" * 500 + '"}\n{"text": "b"}\n')
    assert [record.text for record in read(lines)] == ["a", None, "b"]
    table = tmp_path / "notes.csv"
    table.write_text("id,text\n1,a\n2," + "x" * 500 + '\n3,"' + "y\n" * 80 + "4,b\n")
    assert [record.text for record in read(table) if record.text] == ["a", "b"]


def test_a_gzip_that_is_cut_off_is_an_error_and_no_end(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps({"text": "a" * 5000}).encode() * 100)[:-20])
    with pytest.raises(ValueError, match="must inflate to its end, .*copy it again"):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_that_is_not_there_ends_at_once(tmp_path: Path, suffix: str) -> None:
    path = write_notes([("1", "a")], tmp_path / f"notes{suffix}")
    for columns in ({"text": "note"}, {"id": "key"}):
        with pytest.raises(ValueError, match="the table must have the column '(note|key)', got .* with id"):
            read(path, **columns)


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    pl.DataFrame({"text": [1, 2]}).write_parquet(tmp_path / "notes.parquet")
    with pytest.raises(ValueError, match="got Int64 for column 'text' of notes.parquet"):
        read(tmp_path / "notes.parquet")
    (tmp_path / "other.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="must be Parquet, .* cannot be read"):
        read(tmp_path / "other.parquet")


def test_missing_values_of_parquet_are_rejects(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a", None, ""], "id": [7, 8, None]}).write_parquet(tmp_path / "notes.parquet")
    assert [(r.id, r.reason) for r in read(tmp_path / "notes.parquet")] == [
        ("7", None),
        ("8", "no text"),
        ("3", "the text is empty"),
    ]


@pytest.mark.parametrize("text", ["", "id,id\n", '"id,text\n', "note\n1\n"])
def test_a_header_that_is_none_ends_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.csv"
    path.write_text(text)
    with pytest.raises(
        ValueError, match="must have a header|quoted as in RFC 4180|names must be unique|must have the column"
    ):
        DelimitedSource(path, "text", None, ",")


def test_another_separator_is_another_language(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_bytes(b'id;text;other\n1;"b;c";d,e\n')
    (record,) = DelimitedSource(path, "text", None, ";").records(BEGIN)
    assert (record.id, record.text) == ("1", "b;c")
    (record,) = DelimitedSource(path, "other", None, ";").records(BEGIN)
    assert record.text == "d,e"
