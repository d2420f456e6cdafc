"""Laws of the table reader: one content in every format reads the same, and bad cells are named."""

import csv
import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.table import Table

IDS, GROUPS, TEXTS = (
    ["007", "8", "9", "10"],
    ["p1", "p1", "p2", "p3"],
    ["first\nnote", 'a "quoted" note', "third", "  "],
)
LABELS = [["flu", "gout"], ["flu"], [], ["gout"]]
SEXES = ["F", "M", None, "F"]


def write(root: Path, kind: str) -> Path:
    path = root / f"notes{kind}"
    columns = {"key": IDS, "patient": GROUPS, "note": TEXTS, "sex": SEXES}
    flags = {name: [int(name in labels) for labels in LABELS] for name in ("flu", "gout")}
    frame = pl.DataFrame({**columns, **flags, "names": LABELS, "joined": [" ;".join(labels) for labels in LABELS]})
    if kind == ".parquet":
        frame.write_parquet(path)
    elif kind.startswith((".json", ".ndjson")):
        data = (frame.write_json() if kind.startswith(".json.") or kind == ".json" else frame.write_ndjson()).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    else:
        frame = frame.with_columns(pl.Series("names", [str(labels) for labels in LABELS]))
        data = frame.write_csv(separator="\t" if kind.startswith(".tsv") else ";" if "semi" in kind else ",").encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


KINDS = [".csv", ".semi.CSV", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz", ".ndjson", ".json", ".json.gz", ".parquet"]
EXPECTED = [
    ("007", "p1", "first\nnote", ["flu", "gout"], {"sex": "F"}),
    ("8", "p1", 'a "quoted" note', ["flu"], {"sex": "M"}),
    ("9", "p2", "third", [], {"sex": None}),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [["flu", "gout"], "joined", "names"])
def test_every_format_and_form_of_labels_reads_the_same(tmp_path: Path, kind: str, labels: str | list[str]) -> None:
    path = write(tmp_path, kind)
    delimiter = ";" if labels == "joined" else None
    table = Table(path, "note", labels, id="key", group="patient", delimiter=delimiter, attributes=["sex"])
    records = table.records()
    assert records.frame.rows() == EXPECTED
    unlabelled = ["1 of 3 notes have no label in their cell"] if isinstance(labels, str) else []
    told = [f"the columns of {path.name} are separated by ';'"] if "semi" in kind else []
    assert records.notices == (*told, "1 of 4 rows dropped: empty text", *unlabelled)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_default_to_row_numbers_and_groups_to_ids(tmp_path: Path, kind: str) -> None:
    frame = Table(write(tmp_path, kind), "note", ["flu"]).records().frame
    assert frame.select("id", "group", "attributes").rows() == [(i, i, {"none": None}) for i in ("1", "2", "3")]


def test_labels_are_stripped_distinct_and_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("note,names\nx, b|a ||b|\ny,\nz,|\n")
    assert Table(path, "note", "names", delimiter="|").records().frame["labels"].to_list() == [["b", "a"], [], []]
    path = tmp_path / "t.jsonl"
    path.write_text('{"note":"x","names":[" b",null,"a","b"]}\n\n{"note":"y"}\n{"note":"z","names":null}\n')
    assert Table(path, "note", "names").records().frame["labels"].to_list() == [["b", "a"], [], []]


def csv_table(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("key", "patient", "note", "flu"), *rows])
    return path


@pytest.mark.parametrize("value", ["0", "1", "true", "False", " TRUE ", "0.0", "1.0"])
def test_flags_are_zero_one_true_or_false(tmp_path: Path, value: str) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", value))
    expected = ["flu"] if value.strip().lower() in ("1", "true", "1.0") else []
    assert Table(path, "note", ["flu"]).records().frame["labels"].to_list() == [expected]


@pytest.mark.parametrize("value", ["", "2", "yes", "-1"])
def test_other_flags_are_errors_with_column_and_rows(tmp_path: Path, value: str) -> None:
    rows = [("1", "p", "secret", "1"), ("2", "p", "secret", value), ("3", "p", "secret", value)]
    with pytest.raises(
        ValueError, match=r"'flu' must hold 0, 1, true or false .* 2 rows of t\.csv .* data rows: 2, 3"
    ) as caught:
        Table(csv_table(tmp_path / "t.csv", *rows), "note", ["flu"]).records()
    assert "secret" not in str(caught.value)


def test_repeated_rows_are_dropped_and_differing_ones_refused(tmp_path: Path) -> None:
    same = ("1", "p", "x", "1")
    table = Table(
        csv_table(tmp_path / "t.csv", same, ("2", "p", "y", "0"), same, same), "note", ["flu"], "key", "patient"
    )
    records = table.records()
    assert records.frame["id"].to_list() == ["1", "2"]
    assert "2 of 4 rows dropped: duplicates" in records.notices
    for other in (("1", "p", "x", "0"), ("1", "p", "secret", "1"), ("1", "q", "x", "1")):
        csv_table(tmp_path / "t.csv", same, ("2", "p", "y", "0"), other)
        with pytest.raises(ValueError, match=r"1 ids in t\.csv on rows that differ .* \(first: 1\)") as caught:
            table.records()
        assert "secret" not in str(caught.value)


def test_only_five_of_many_repeated_ids_are_named(tmp_path: Path) -> None:
    rows = [(str(i % 9), "p", f"text {i}", "1") for i in range(18)]
    with pytest.raises(ValueError, match=r"9 ids .*\(first: 0, 1, 2, 3, 4\)"):
        Table(csv_table(tmp_path / "t.csv", *rows), "note", ["flu"], "key").records()


@pytest.mark.parametrize("column", ["key", "patient"])
def test_empty_ids_and_groups_are_errors(tmp_path: Path, column: str) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", "1"), ("", "", "y", "1"))
    settings = {"id": "key"} if column == "key" else {"group": "patient"}
    with pytest.raises(ValueError, match=f"'{column}' must hold a value on every row, .* data rows: 2"):
        Table(path, "note", ["flu"], **settings).records()


@pytest.mark.parametrize("kind", KINDS)
def test_missing_files_and_columns_are_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileNotFoundError, match="notes"):
        Table(tmp_path / f"notes{kind}", "note", ["flu"]).records()
    table = Table(write(tmp_path, kind), "text", ["flu"])
    for read in (table.records, table.check):
        with pytest.raises(ValueError, match=r"the column 'text', got notes.* with key, patient, note, sex, flu, gout"):
            read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistyped_column_is_found_without_reading_the_rows(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    Table(path, "note", ["flu"], group="patient").check()
    with pytest.raises(DataError, match=r"column 'noet', got notes.* with key, patient, note, .*; did you mean note\?"):
        Table(path, "noet", ["flu"]).check()


@pytest.mark.parametrize(
    ("data", "law"),
    [
        (b"", "must have rows"),
        (b"\n\n", "must have rows"),
        (b'{"note": "secret", "flu": 1}\n{"note": "sec\nret", "flu": 1}\n', "line 2: not JSON: invalid at character"),
        (b'{"note": "secret", "flu": 1}\n["secret"]\n', "line 2: not a JSON object"),
        (b'{"note": "secret", "flu": 1}\n\n{"note": "secret \xff", "flu": 1}\n', "line 3: not UTF-8: byte 0xff"),
        (
            b'{"note": "secret", "flu": 1}\n{"note": {"a": "secret"}, "flu": 1}\n',
            "must be a string, .* line 2, key 'note'",
        ),
        (b'{"note": "secret \\ud83d", "flu": 1}\n', "text must be Unicode, .* line 1, key 'note'"),
        (b'{"note": "", "flu": 1}\n', "got 1 rows without text"),
    ],
)
def test_broken_json_lines_are_errors_without_text(tmp_path: Path, data: bytes, law: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=law) as caught:
        Table(path, "note", ["flu"]).records()
    assert "secret" not in str(caught.value)


def test_json_lines_keep_numbers_as_written_and_read_booleans(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    rows = [
        {"key": 1, "note": "x", "flu": True, "age": 1.50},
        {"key": 10**30, "note": "y", "flu": 0, "age": float("nan")},
    ]
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)), encoding="utf-8")
    frame = Table(path, "note", ["flu"], "key", attributes=["age"]).records().frame
    assert frame.drop("group", "text").rows() == [("1", ["flu"], {"age": "1.5"}), (str(10**30), [], {"age": None})]


def test_json_values_of_the_wrong_shape_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    for cells, law in (
        (['"a;b"', '["a"]'], "must all be lists, or all text, got both for 'names' .*line 2"),
        (['{"a": 1}'], "must be a string, .* line 1, key 'names'"),
        (['[["a"]]'], "must be a string, .* line 1, key 'names'"),
        (['"a", "names": "b"'], "line 1: not readable JSON: a key stands twice"),
    ):
        path.write_text("".join(f'{{"note": "x", "names": {cell}}}\n' for cell in cells))
        with pytest.raises(ValueError, match=law):
            Table(path, "note", "names", delimiter=";").records()


def test_parquet_of_the_wrong_shape_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(ValueError, match="must be Parquet, .* cannot be read"):
        Table(path, "note", ["flu"]).records()
    columns = {"note": ["x"], "many": [["a"]], "when": [{"a": 1}], "deep": [[["a"]]], "bytes": [b"\xff"]}
    pl.DataFrame(columns).write_parquet(path)
    for labels in (["many"], "when", ["when"], "deep"):
        with pytest.raises(ValueError, match=r"must hold (labels or lists|one value a row).*, got .* in t\.parquet"):
            Table(path, "note", labels).records()
    with pytest.raises(ValueError, match=r"bytes must be text in UTF-8, .*'bytes': Binary"):
        Table(path, "note", "many", id="bytes").records()


def test_parquet_types_are_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame(
        {"key": [b"1", b"2"], "note": ["x", "y"], "flu": [True, False], "gout": [0.0, 1.0], "sex": ["F", None]}
    )
    frame.with_columns(pl.col("sex").cast(pl.Categorical)).write_parquet(path)
    found = Table(path, "note", ["flu", "gout"], "key", attributes=["sex"]).records().frame
    assert found.select("id", "labels", "attributes").rows() == [
        ("1", ["flu"], {"sex": "F"}),
        ("2", ["gout"], {"sex": None}),
    ]


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", "1"))
    frame = Table(path, "note", ["flu"], "key", "key", attributes=["patient", "flu"]).records().frame
    assert frame.rows() == [("1", "1", "x", ["flu"], {"patient": "p", "flu": "1"})]


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": []},
        {"labels": ""},
        {"labels": "a", "delimiter": ""},
        {"labels": ["a", "a"]},
        {"labels": "a", "attributes": "sex"},
        {"labels": "a", "attributes": ["sex", "sex"]},
    ],
)
def test_bad_settings_are_errors(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="set |remove it"):
        Table("t.csv", "note", **settings)  # type: ignore[arg-type]


def test_unknown_endings_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.docx"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="must end in"):
        Table(path, "note", ["flu"]).records()


def test_the_fingerprint_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", "1"))
    before = Table(path, "note", ["flu"]).fingerprint()
    assert Table(str(path), "note", ["flu"], "key").fingerprint() == before
    csv_table(path, ("1", "p", "y", "1"))
    assert Table(path, "note", ["flu"]).fingerprint() != before


@pytest.mark.parametrize(
    ("cells", "delimiter", "expected"),
    [
        (["['x', 'y']", "[]", "['y']", ""], ";", [["x", "y"], [], ["y"], []]),
        (['["x", "y;z"]', '["a \\"b\\""]', "None"], ";", [["x", "y;z"], ['a "b"'], []]),
        (["['x' 'y']", "['x'\n 'z']"], ",", [["x", "y"], ["x", "z"]]),
        (["('x',)", "{'x', 'y'}"], ",", [["x"], ["x", "y"]]),
        (["[401.9, 4019]", "[nan]"], None, [["401.9", "4019"], []]),
        (["x; nan", "NaN", "NULL", "none", "<NA>"], ";", [["x"], [], [], ["none"], []]),
        (["x, y", "x;y"], None, [["x, y"], ["x;y"]]),
        (["(benign)", "x"], ";", [["(benign)"], ["x"]]),
    ],
)
@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_label_cells_are_lists_where_that_is_certain(
    tmp_path: Path, kind: str, cells: list[str], delimiter: str | None, expected: list[list[str]]
) -> None:
    frame = pl.DataFrame({"note": [f"n{number}" for number in range(len(cells))], "names": cells})
    path = tmp_path / f"t{kind}"
    {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[kind](path)
    assert Table(path, "note", "names", delimiter=delimiter).records().frame["labels"].to_list() == expected


@pytest.mark.parametrize(
    ("cells", "law"),
    [
        (["['x', 'y']", "x"], r"must hold lists with quotes .*data rows: 2\)"),
        (["[x, y]", "[x]"], r"must hold lists with quotes .*data rows: 1, 2\)"),
        (["['x', 'y"], None),
        (["x" * 64, "y"], None),
        (["zx" * 33, "y"], r"must be names of at most 64 characters .* got 1 of 2 that are longer \(up to 66.*shorten"),
        (["zx\nbreak"], "must be names of at most 64 characters on one line, got 1 of 1"),
        ([f"zx number {n}" for n in range(20)], "must be shared by several notes, got 20 different ones among 20"),
        ([f"I{max(n, 1):02}" for n in range(20)], "^(?!.*(?:characters|shorten)).*shared.*got 19 .* among 20.*coarser"),
    ],
)
def test_label_cells_that_are_not_certain_are_refused(tmp_path: Path, cells: list[str], law: str | None) -> None:
    path = tmp_path / "t.csv"
    pl.DataFrame({"note": [f"n{n}" for n in range(len(cells))], "names": cells}).write_csv(path)
    table = Table(path, "note", "names", delimiter=";")
    if law is None:
        assert table.records().frame["labels"].to_list() in ([cells], [[cell] for cell in cells])
        return
    with pytest.raises(ValueError, match=law) as caught:
        table.records()
    assert "zx" not in str(caught.value)


@pytest.mark.parametrize("role", ["id", "group", "split", "attributes"])
def test_notes_are_no_ids(tmp_path: Path, role: str) -> None:
    """Neither the column of the text, nor another one with notes: ids stand in errors and beside answers."""
    path = tmp_path / "t.csv"
    notes = [f"zx denies chest pain, has a cough for {n} days" for n in range(12)]
    pl.DataFrame({"note": notes, "other": notes[::-1], "flu": [1, 0] * 6}).write_csv(path)
    with pytest.raises(ConfigError, match=f"{role} must be another column than text"):
        Table(path, "note", ["flu"], **{role: ["note"] if role == "attributes" else "note"})  # type: ignore[arg-type]
    if role == "group":  # a ward's name may be long, and stands beside no answer
        assert Table(path, "note", ["flu"], group="other").records().frame["group"].to_list() == notes[::-1]
    elif role != "attributes":
        law = "got 12 other values on 12 rows" if role == "split" else "ids of at most 128 characters and 8 words"
        with pytest.raises(DataError, match=law) as caught:
            Table(path, "note", ["flu"], **{role: "other"}).records()  # type: ignore[arg-type]
        assert "zx" not in str(caught.value)


def test_what_is_read_as_no_label_or_may_have_another_delimiter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("note,names\na,None\nb,nan\nc,x|y\nd,x\ne,y\nf,None\nNULL,x\n")
    records = Table(path, "note", "names", delimiter=";").records()
    assert records.notices == (
        "1 of 7 rows dropped: empty text",
        "3 labels are read as no label: None (2), nan (1); task.corpus.missing=[] makes them labels",
        "1 labels are others joined by '|': should delimiter be '|', not ';'?",
        "3 of 6 notes have no label in their cell",
    )
    kept = Table(path, "note", "names", delimiter="|", missing=[]).records().frame
    assert kept["labels"].to_list() == [["None"], ["nan"], ["x", "y"], ["x"], ["y"], ["None"], ["x"]]


@pytest.mark.parametrize(("yes", "no"), [("Yes", "no"), ("Y", "N"), ("t", "F"), ("TRUE", "False"), ("1.0", "0")])
def test_flags_are_spelt_in_pairs(tmp_path: Path, yes: str, no: str) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", yes), ("2", "p", "y", no))
    assert Table(path, "note", ["flu"]).records().frame["labels"].to_list() == [["flu"], []]


@pytest.mark.parametrize("cell", ["", "-1", "-1.0", "nan"])
def test_uncertain_flags_are_refused_negative_or_dropped(tmp_path: Path, cell: str) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", "1"), ("2", "p", "y", cell))
    with pytest.raises(ValueError, match=r"uncertain=negative reads .* data rows: 2\)"):
        Table(path, "note", ["flu"]).records()
    negative, dropped = (Table(path, "note", ["flu"], uncertain=choice).records() for choice in ("negative", "drop"))  # type: ignore[arg-type]
    assert negative.frame["labels"].to_list() == [["flu"], []] and dropped.frame["labels"].to_list() == [["flu"]]
    assert "1 of 2 rows: an empty cell or -1 is read as 0" in negative.notices
    assert "1 of 2 rows: dropped: an empty cell or -1" in dropped.notices


def test_columns_may_be_named_by_numbers_and_texts_joined(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("title,body,4019,401.9\nT,B,1,0\n,B2,0,1\nnan, ,1,1\nT3,,1,1\n")
    frame = Table(path, ["title", "body"], [4019, 401.9], separator=" | ").records().frame  # type: ignore[list-item]
    assert frame["text"].to_list() == ["T | B", "B2", "T3"]
    assert frame["labels"].to_list() == [["4019"], ["401.9"], ["4019", "401.9"]]
    assert Table(path, "body", 4019).records().frame["labels"].to_list() == [["1"], ["0"]]  # type: ignore[arg-type]


def test_labels_are_included_or_excluded_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("note,names\na,normal\nb,flu;normal\nc,gout\n")
    records = Table(path, "note", "names", delimiter=";", exclude=["normal"]).records()
    assert records.frame["labels"].to_list() == [[], ["flu"], ["gout"]]
    assert records.notices == (
        "2 of 3 notes have labels that are left out: normal",
        "1 of 3 notes have no label in their cell",
    )
    kept = Table(path, "note", "names", delimiter=";", include=["gout"]).records().frame
    assert kept["labels"].to_list() == [[], [], ["gout"]]
    with pytest.raises(ValueError, match="must name labels of the column, got 'norml'.*normal"):
        Table(path, "note", "names", delimiter=";", exclude=["norml"]).records()


def test_a_split_column_is_kept_and_its_leaks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    header, rows = "patient,note,names,part\n", "p1,a,x,Train\np2,b,y,dev\np3,c,x,TEST\np1,d,x,training\n"
    path.write_text(header + rows)
    table = Table(path, "note", "names", group="patient", split="part")
    assert table.records().splits == {"p1": "train", "p2": "validation", "p3": "test"}
    path.write_text(header + rows + "p1,e,x,test\np3,f,x,val\n")
    with pytest.raises(ValueError, match=r"must be in one split, got 2 groups of t\.csv in several \(first: p1, p3\)"):
        table.records()
    assert Table(path, "note", "names", split="part").records().splits is not None
    path.write_text(header + rows + "p5,e,x,\n")
    with pytest.raises(ValueError, match="must hold train, .* got test, train, validation, 1 other value on 1 rows"):
        table.records()
    path.write_text(header + rows + "p5,e,x,fever\n")
    with pytest.raises(ValueError, match="1 other value on 1 rows") as caught:
        table.records()
    assert "fever" not in str(caught.value)
    path.write_text("patient,note,names,part\n" + "a ward of chest pain for two weeks and more,a,x,train\n" * 2)
    path.write_text(path.read_text() + "a ward of chest pain for two weeks and more,b,x,test\n")
    with pytest.raises(ValueError, match=r"1 groups .* \(first: <43 characters>\)"):
        table.records()


@pytest.mark.parametrize(
    ("settings", "law"),
    [
        ({"uncertain": "maybe"}, "uncertain must be one of refuse, negative, drop"),
        ({"near_duplicates": "yes"}, "near_duplicates must be one of count, merge, ignore"),
        ({"labels": "note"}, "must be different columns"),
        ({"exclude": "normal"}, r"exclude must be a list, got 'normal'; set \[normal\]"),
        ({"encoding": "windows"}, "encoding must be one that Python knows"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path: Path, settings: dict[str, object], law: str) -> None:
    path = csv_table(tmp_path / "t.csv", ("1", "p", "x", "1"))
    with pytest.raises(ValueError, match=law):
        Table(path, "note", **{"labels": ["flu"], **settings}).records()  # type: ignore[arg-type]
