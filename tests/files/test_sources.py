"""Every line of a file is in exactly one record, whatever its bytes; and reading may go on after any of them."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.note_files import write_notes

from clinlm.config.errors import DataError
from clinlm.files import delimited, json_lines
from clinlm.files.delimited import DelimitedSource
from clinlm.files.json_lines import JsonLinesSource
from clinlm.files.record import Position, Record
from clinlm.files.sources import check_columns, open_source, read_table, table_notices

ROUGH = st.lists(st.sampled_from([b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"1,b\n", b'2,"c"\n', b"\xff", b" "]))
OBJECTS = st.lists(
    st.sampled_from([b'{"id": 1, "text": "a"}', b"{", b"[]", b"\n", b"\r\n", b"\n", b" ", b"\xff", b"3"])
)
TEXTS = st.lists(st.text(max_size=20).filter(lambda text: text.strip()), max_size=5)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

BEGIN = Position()


def read(path: Path, start: Position = BEGIN, **columns: Any) -> list[Record]:
    return list(open_source(path, columns.get("text", "text"), columns.get("id")).records(start))


def sheet(path: Path, rows: list[list[str | float | None]], names: tuple[str, ...] = ("Notes",)) -> Path:
    """Write a workbook with these rows in its first sheet, and empty sheets of the other names."""
    main, office = "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://schemas.openxmlformats.org"
    package, document = f"{office}/package/2006/relationships", f"{office}/officeDocument/2006/relationships"
    head = '<?xml version="1.0" encoding="UTF-8"?>'

    def cell(row: int, column: int, value: str | float | None) -> str:
        place = f"{chr(65 + column)}{row}"
        if value is None:
            return ""
        if isinstance(value, str):
            return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
        return f'<c r="{place}"><v>{value}</v></c>'

    lines = "".join(
        f'<row r="{r}">{"".join(cell(r, c, value) for c, value in enumerate(row))}</row>'
        for r, row in enumerate(rows, 1)
    )
    sheets = "".join(f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, n in enumerate(names, 1))
    links = "".join(
        f'<Relationship Id="r{i}" Type="{document}/worksheet" Target="worksheets/s{i}.xml"/>'
        for i in range(1, len(names) + 1)
    )
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("[Content_Types].xml", f'{head}<Types xmlns="{office}/package/2006/content-types"/>')
        link = f'<Relationship Id="r0" Type="{document}/officeDocument" Target="xl/workbook.xml"/>'
        book.writestr("_rels/.rels", f'{head}<Relationships xmlns="{package}">{link}</Relationships>')
        book.writestr("xl/_rels/workbook.xml.rels", f'{head}<Relationships xmlns="{package}">{links}</Relationships>')
        book.writestr(
            "xl/workbook.xml",
            f'{head}<workbook xmlns="{main}" xmlns:r="{document}"><sheets>{sheets}</sheets></workbook>',
        )
        for number in range(1, len(names) + 1):
            data = lines if number == 1 else ""
            content = f'{head}<worksheet xmlns="{main}"><sheetData>{data}</sheetData></worksheet>'
            book.writestr(f"xl/worksheets/s{number}.xml", content)
    return path


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
        (json.dumps({"id": "x" * 129, "text": "a"}), None, "129 characters"),
        ('{"id": "he has had a cough for nine days now", "text": "a"}', None, "9 words"),
        ('{"id": "he coughs", "text": "he coughs"}', None, "the id is the text"),
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


@same_folder
@given(TEXTS, st.sampled_from([(None, 1), ("\t", 0), ("\n", 4)]), st.booleans())
def test_an_array_is_read_as_its_items_and_read_on_from_anywhere(
    tmp_path: Path, texts: list[str], form: tuple[str | None, int], mark: bool
) -> None:
    path = tmp_path / "notes.json"
    items = [{"id": number, "text": text, "more": [{"a": "]"}]} for number, text in enumerate(texts)]
    data = json.dumps(items, ensure_ascii=form[1] == 0, indent=form[1] or None)
    path.write_bytes((b"\xef\xbb\xbf" if mark else b"") + f" {data}\n".encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "_CHUNK", 3)
        found = read(path)
        assert [(record.id, record.text) for record in found] == [(str(n), text) for n, text in enumerate(texts)]
        for place, record in enumerate(found):
            assert record.after.line == place + 1 and read(path, record.after) == found[place + 1 :]


@pytest.mark.parametrize(
    ("data", "law"),
    [
        ('[{"text": "secret"} {"text": "b"}]', "separate its items by commas .* after 1 items"),
        ('[{"text": "secret"},]', "must be objects, .* item 2"),
        ('[{"text": "secret"}', "end in ], .* after 1 items"),
        ('[{"text": "secret"', "must be JSON, got notes.json, item 1"),
        ('[{"text": "secret"}] {}', "must end its file, got more after 1 items"),
        ('["secret"]', "must be objects, .* item 1"),
        ('[{"text": "secret", "text": "b"}]', "item 1: a key stands twice"),
    ],
)
def test_broken_arrays_are_errors_without_text(tmp_path: Path, data: str, law: str) -> None:
    path = tmp_path / "notes.json"
    path.write_text(data)
    with pytest.raises(ValueError, match=law) as caught:
        read_table(path, ["text"])
    assert "secret" not in str(caught.value)


TABLE = "id{0}text\n1{0}fi\u00e8vre \u201c39\u201d\n2{0}b\n"
ROWS = [("1", "fi\u00e8vre \u201c39\u201d"), ("2", "b")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["n.csv", "n.tsv", "n.CSV.gz"])
def test_the_separator_is_the_one_by_which_the_header_has_the_columns(
    tmp_path: Path, separator: str, name: str
) -> None:
    path = tmp_path / name
    for first in ("", f"sep={separator}\r\n"):
        data = (first + TABLE.format(separator)).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert read_table(path, ["id", "text"]).rows() == ROWS
        assert [(record.id, record.text) for record in read(path)] == ROWS
        usual = "\t" if "tsv" in name else ","
        told = [] if separator == usual else [f"the columns of {name} are separated by {separator!r}"]
        assert table_notices(path, ["id", "text"]) == told
    with pytest.raises(ValueError, match=r"the column 'txt', got .* with id, text"):
        read_table(path, ["id", "txt"])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["n.csv", "n.csv.gz", "n.jsonl", "n.json"])
def test_encodings_are_those_of_the_mark_or_the_setting(tmp_path: Path, encoding: str, name: str) -> None:
    rows = [{"id": id, "text": text} for id, text in ROWS]
    json_text = json.dumps(rows, ensure_ascii=False)
    written = {"csv": TABLE.format(","), "json": json_text, "jsonl": json_text[1:-1].replace("}, {", "}\n{")}
    text = ("\ufeff" if encoding == "utf-16-be" else "") + written[name.split(".")[1]]
    path, data = tmp_path / name, text.encode(encoding)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    chosen = "Windows-1252" if encoding == "cp1252" else None
    assert read_table(path, ["id", "text"], encoding=chosen).rows() == ROWS
    found = list(open_source(path, "text", "id", chosen).records(BEGIN))
    assert [(record.id, record.text) for record in found] == ROWS
    assert list(open_source(path, "text", "id", chosen).records(found[0].after)) == found[1:]
    told = table_notices(path, ["id", "text"], chosen)
    expected = {"cp1252": "cp1252", "utf-8": None, "utf-32": "utf-32"}.get(encoding, "utf-16")
    assert (f"{name} is read as {expected}" in "".join(told)) == (expected is not None) and len(told) == bool(expected)
    if encoding == "cp1252":
        with pytest.raises(ValueError, match="must be UTF-8, .* 0xe8|must be a JSON object in UTF-8|0xe8"):
            read_table(path, ["id", "text"])
        if name != "n.json":
            with pytest.raises(ValueError, match="0xe8"):
                check_columns(path, ["id", "text"])
    check_columns(path, ["id", "text"], chosen)
    if expected == "utf-16":
        with pytest.raises(ValueError, match="encoding must be that of the file, got cp1252"):
            read_table(path, ["id", "text"], encoding="cp1252")


@pytest.mark.parametrize(
    ("data", "what"), [(b"PK\x03\x04", "a zip file"), (b"PAR1", "Parquet"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_other_kinds_of_files_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "n.csv"
    path.write_bytes(data + b"rest")
    with pytest.raises(ValueError, match=f"must be text, got n.csv, which is .*{what}"):
        read_table(path, ["id"])


@pytest.mark.parametrize(
    ("place", "far"),
    [("Z2", False), ("XFD1048576", True), ("B1048577", True), ("AAAA1000000", True), ("B99999999999", True)],
)
def test_a_cell_far_from_the_table_is_refused_before_it_costs_gigabytes(tmp_path: Path, place: str, far: bool) -> None:
    path = sheet(tmp_path / "n.xlsx", [["id", "text"], [7, "secret"]], ("Notes", "More"))
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    parts["xl/worksheets/s1.xml"] = parts["xl/worksheets/s1.xml"].replace(b'r="B2"', f'r="{place}"'.encode())
    with zipfile.ZipFile(path, "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    if not far:
        assert read_table(path, ["id", "text"]).rows() == [("7", None)]
        return
    with pytest.raises(DataError, match="a sheet must hold a table, the first of n.xlsx has cells up to row") as error:
        read_table(path, ["id", "text"])
    assert "secret" not in str(error.value)


def test_the_first_sheet_of_a_workbook_is_read_as_text(tmp_path: Path) -> None:
    rows: list[list[str | float | None]] = [
        ["id", " text ", "flu"],
        [7, "a <note>", 1],
        ["008", None, 0],
        [9, "c", None],
    ]
    path = sheet(tmp_path / "n.xlsx", rows, ("Notes", "More"))
    assert read_table(path, ["flu", "text"]).rows() == [("1", "a <note>"), ("0", None), (None, "c")]
    assert table_notices(path, ["text"]) == ["only the first of 2 sheets of n.xlsx is read: Notes"]
    found = read(path, id="id")
    assert [(record.id, record.text, record.reason) for record in found] == [
        ("7", "a <note>", None),
        ("008", None, "no text"),
        ("9", "c", None),
    ]
    assert read(path, found[0].after, id="id") == found[1:]
    with pytest.raises(ValueError, match="the column 'note', got n.xlsx with id, text and 1 more column"):
        read_table(path, ["note"])
    path.write_bytes(b"no workbook")
    with pytest.raises(ValueError, match="must be an Excel workbook"):
        read_table(path, ["text"])


def test_bytes_in_parquet_are_text_or_rejected(tmp_path: Path) -> None:
    path = tmp_path / "n.parquet"
    pl.DataFrame({"id": [b"7", b"\xff", None], "text": [b"a", b"b", b"\xff"]}).write_parquet(path)
    found = [(record.id, record.text, record.reason) for record in read(path)]
    assert found[0] == ("7", "a", None) and "got a bytes" in str(found[1][2]) and "got a bytes" in str(found[2][2])


def test_a_compressed_file_cut_in_its_first_bytes_is_named(tmp_path: Path) -> None:
    for name in ("notes.csv.gz", "notes.jsonl.gz", "notes.json.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b'[{"id": 1, "text": "fever"}]')[:12])
        with pytest.raises(ValueError, match=rf"must inflate to its end, got EOFError in {name}"):
            list(open_source(tmp_path / name, "text", "id").records(Position()))
