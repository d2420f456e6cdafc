"""Laws of tables with a column of spans: one content in every format reads the same, and bad cells are named."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinlm.corpora.base import COLUMNS
from clinlm.corpora.span_table import SpanTable

TEXTS = ["fever,\n😀 no gout", "a 'quoted' note", " "]
SPANS = [[(9, 16, "X"), (0, 5, "Y")], [], [(0, 1, "X")]]
KINDS = [".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz", ".parquet"]


def write(
    root: Path,
    kind: str,
    form: str,
    texts: list[str],
    spans: list[list[tuple[int, int, str]]],
    worded: bool = False,
) -> Path:
    path = root / f"notes{kind}"
    objects = [
        [{"start": s, "end": e, "label": label} | ({"text": text[s:e]} if worded else {}) for s, e, label in own]
        for text, own in zip(texts, spans, strict=True)
    ]
    cells: list[Any] = [[list(one) for one in own] for own in spans] if form == "lists" else objects
    rows = {"key": [f"0{n}" for n in range(len(texts))], "ward": ["w"] * len(texts), "note": texts}
    if kind == ".parquet" and form != "lists":
        words = {"text": pl.String} if worded else {}
        struct = pl.Struct({"start": pl.Int32, "end": pl.Int32, "label": pl.String, **words})
        pl.DataFrame(rows | {"said": objects}, schema_overrides={"said": pl.List(struct)}).write_parquet(path)
    elif kind.startswith(".jsonl"):
        flat = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
        said = [{**row, "said": cell} for row, cell in zip(flat, cells, strict=True)]
        data = "\n".join(json.dumps(row) for row in said).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    else:
        frame = pl.DataFrame(rows | {"said": [json.dumps(cell, ensure_ascii=False) for cell in cells]})
        if kind == ".parquet":
            frame.write_parquet(path)
        else:
            data = frame.write_csv(separator="\t" if kind.startswith(".tsv") else ",").encode()
            path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["objects", "lists"])
def test_every_format_and_form_reads_the_same(tmp_path: Path, kind: str, form: str) -> None:
    path = write(tmp_path, kind, form, [*TEXTS, TEXTS[0]], [*SPANS, SPANS[0]])
    records = SpanTable(path, "note", "said", {"X": "DISEASE"}, id="key", attributes=["ward"]).records()
    assert records.frame.columns == [*COLUMNS, "spans"]
    span = [{"start": 9, "end": 16, "label": "DISEASE"}]
    assert records.frame.rows() == [
        ("00", "00", TEXTS[0], ["DISEASE"], {"ward": "w"}, span),
        ("01", "01", TEXTS[1], [], {"ward": "w"}, []),
        ("03", "00", TEXTS[0], ["DISEASE"], {"ward": "w"}, span),
    ]
    assert records.notices == (
        "1 of 4 rows dropped: empty text",
        "2 of 4 spans dropped: labels not in map (Y)",
        "1 of 3 documents repeat the text of another and share its group",
        "1 of 3 documents have no span",
    )
    assert SpanTable(path).fingerprint() == SpanTable(str(path), "note").fingerprint()


@settings(max_examples=20)
@given(st.data(), st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, worded: bool) -> None:
    """Anywhere in a text with their words; without, where offsets alone say what they count, of whole words."""
    text = data.draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)) + " " * (not worded) + "fever"
    places = range(len(text) + 1)
    whole = [match.span() for match in re.finditer(r"\S+", text)]
    starts, ends = (places, places) if worded else zip(*whole, strict=True)
    edges = st.tuples(st.sampled_from(starts), st.sampled_from(ends), st.sampled_from("XY"))
    drawn = [(*sorted(one[:2]), one[2]) for one in data.draw(st.lists(edges, max_size=5)) if worded or one[0] < one[1]]
    spans = [one for one in drawn if one[0] < one[1]] + [(len(text) - 5, len(text), "X")]
    kind = data.draw(st.sampled_from([".jsonl", ".parquet"]))
    path = write(tmp_path_factory.mktemp("table"), kind, "objects", [text], [spans], worded)
    found = SpanTable(path, "note", "said").records().frame["spans"].item().to_list()
    trimmed = {(e - len(text[s:e].lstrip()), s + len(text[s:e].rstrip()), label) for s, e, label in spans}
    assert [tuple(one.values()) for one in found] == sorted(one for one in trimmed if one[0] < one[1])


def test_rows_that_repeat_another_are_dropped_and_keys_have_any_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    span = {"begin": 0, "stop": "5", "type": "X", "text": "fever"}
    path.write_text("\n".join([json.dumps({"text": "fever ", "spans": [span, span]})] * 2))
    records = SpanTable(path, keys=["begin", "stop", "type"]).records()
    assert records.frame["spans"].to_list() == [[{"start": 0, "end": 5, "label": "X"}]] * 2
    assert records.frame["id"].to_list() == ["1", "2"], "without an id column every row is a document"
    path.write_text("\n".join([json.dumps({"id": "a", "text": "fever ", "spans": [span, span]})] * 2))
    assert SpanTable(path, id="id", keys=["begin", "stop", "type"]).records().notices == (
        "1 of 2 rows dropped: duplicates",
        "1 of 2 spans dropped: duplicates",
    )


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "[" * 5000,
            None,
            "",
            "secret",
            7,
            {"start": 0},
            [7],
            [[0, 1]],
            [[0, 1, True]],
            [[0, 1, " "]],
            [[0.5, 1, "X"]],
        ),
        *([[True, 1, "X"]], [[-1, 1, "X"]], [["9" * 20, 1, "X"]], [{"start": 0, "end": 1}], [[0, 1, "\ud800"]]),
    ],
)
def test_cells_that_are_no_spans_are_named(tmp_path: Path, cell: object) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"text": "secret", "spans": [[0, 1, "X"]]}, {"text": "secret", "spans": cell}]
    if isinstance(cell, dict):
        rows[1]["spans"] = json.dumps(cell)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(ValueError, match=r"'spans' must hold a list .* 1 rows .*first data rows: 2\)") as caught:
        SpanTable(path).records()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "spans", "found", "notice"),
    [
        ("on aspirin", [[3.0, "10", ["A", "B"]]], [("aspirin", "A"), ("aspirin", "B")], "2 of 2 spans are nested"),
        ("on aspirin", [[3, 10, "A"], [0, 2, None], [0, 2, []]], [("aspirin", "A")], "2 spans dropped: without label"),
        ("on aspirin", [[3, 10, "A"], [3, 3, "A"]], [("aspirin", "A")], "1 of 2 entities dropped: not the words"),
        ("😀 on aspirin today", [[6, 13, "A"]], [("aspirin", "A")], "1 of 1 documents have offsets by units of UTF-16"),
        ("é on aspirin today", [[6, 13, "A"]], [("aspirin", "A")], "1 of 1 documents have offsets by bytes of UTF-8"),
        ("Lévodopa 5mg+ daily", [[10, 13, "A"]], [("mg+", "A")], "1 of 1 entities begin or end inside a word"),
        ("on\r\naspirin", [[3, 10, "A", "aspirin"]], [("aspirin", "A")], "by line ends of one character"),
        (
            "on aspirin",
            [[3, 10, "A", "aspirin"], [0, 7, "A", "aspirin"]],
            [("aspirin", "A")],
            "1 with words elsewhere in",
        ),
    ],
)
def test_spans_of_other_tools_are_read_where_it_is_certain(
    tmp_path: Path, text: str, spans: list[Any], found: list[tuple[str, str]], notice: str
) -> None:
    path = tmp_path / "a.jsonl"
    names = ("start", "end", "label", "text")
    cells = [dict(zip(names, span, strict=False)) if isinstance(span, list) else span for span in spans]
    path.write_text(json.dumps({"text": text, "spans": cells}))
    records = SpanTable(path).records()
    [own] = records.frame["spans"].to_list()
    assert [(text[one["start"] : one["end"]], one["label"]) for one in own] == found
    assert len(records.notices) == 1 and notice in records.notices[0]
    (tmp_path / "a.csv").write_text(f"text,spans\n{quoted(text)},{quoted(repr(cells))}\n", encoding="utf-8", newline="")
    assert SpanTable(tmp_path / "a.csv").records().frame["spans"].to_list() == [own]


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def test_keys_may_be_paths_and_are_named_where_they_are_others(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    value = {"start": 0, "end": 6, "text": "secret", "labels": ["A"]}
    path.write_text(json.dumps({"text": "secret", "spans": [{"value": value, "type": "labels"}]}))
    keys = ["value.start", "value.end", "value.labels"]
    assert SpanTable(path, keys=keys).records().frame["labels"].to_list() == [["A"]]
    with pytest.raises(ValueError, match=r"their spans have value, type: set keys to three of them") as caught:
        SpanTable(path).records()
    assert "secret" not in str(caught.value)
    path.write_text(json.dumps({"text": "secret", "spans": [{"start": 0, "end": 6, "label": None}]}))
    with pytest.raises(ValueError, match="none of 1 in a.jsonl has; set keys"):
        SpanTable(path).records()
    path.write_text(json.dumps({"text": "a secret", "spans": [{"start": 0, "end": 6, "label": "A", "text": "secret"}]}))
    with pytest.raises(ValueError, match="1 of 1 have not .*set words to null if 'text' is not their words"):
        SpanTable(path).records()
    assert SpanTable(path, words=None).records().frame["labels"].to_list() == [["A"]]


@pytest.mark.parametrize("span", [[5, 4, "X"], [0, 7, "X"]])
def test_spans_that_leave_their_text_are_named(tmp_path: Path, span: list[object]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "secret", "spans": [span]}))
    with pytest.raises(ValueError, match=r"at least one character inside their text, got .* 1 rows of a.jsonl"):
        SpanTable(path).records()


def test_bad_input_is_an_error_without_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for text, chosen, law in (
        ("text,said\nsecret,[]\n", {}, "must have the column 'spans', got a.csv with text, said"),
        ("text,spans\nsecret,[]\n", {}, "no span at all"),
        ("text,spans\n ,[]\n", {}, "got 1 rows without text"),
        ('id,text,spans\n1,secret,"[[0,1,""X""]]"\n1,secret,[]\n', {"id": "id"}, "1 ids in a.csv on rows that"),
        ("id,text,spans\n,secret,[]\n", {"group": "id"}, "'id' must hold a value on every row"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=law) as caught:
            SpanTable(path, **chosen).records()  # type: ignore[arg-type]
        assert "secret" not in str(caught.value)
    pl.DataFrame({"text": ["secret"], "spans": [[b"secret"]]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="must hold lists of numbers and text"):
        SpanTable(tmp_path / "a.parquet").records()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        SpanTable(tmp_path / "b.csv").records()
    for wrong in ({"keys": "label"}, {"keys": ["a", "b"]}, {"attributes": "ward"}, {"spans": "text"}):
        with pytest.raises(ValueError, match="got .*; set|set for something else"):
            SpanTable(path, **wrong)  # type: ignore[arg-type]
