"""Laws of tables in several files, and of Arrow: cut anywhere, written in any kind, they hold the same rows."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clinlm.config.errors import DataError, MissingFileError
from clinlm.corpora.span_table import SpanTable
from clinlm.corpora.table import Table
from clinlm.files.shards import shards
from clinlm.files.sources import lazy_table, read_table, table_columns

KINDS = ("csv", "tsv", "jsonl", "parquet", "arrow", "feather.arrow")


def rows(count: int = 40) -> pl.DataFrame:
    rng = random.Random(1)
    return pl.DataFrame(
        {
            "id": [f"00{number}" for number in range(count)],
            "text": [rng.choice(("a, b", '"c"', "d\ne", "é")) + str(number) for number in range(count)],
            "labels": [rng.choice(("flu", "gout", "flu;gout", "")) for _ in range(count)],
        }
    )


def write(frame: pl.DataFrame, path: Path) -> None:
    kind = path.name.partition(".")[2]
    if kind in ("csv", "tsv"):
        frame.write_csv(path, separator={"csv": ",", "tsv": "\t"}[kind])
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True)))
    elif kind == "parquet":
        frame.write_parquet(path)
    elif kind == "arrow":
        frame.write_ipc_stream(path)  # as `datasets` writes it
    else:
        frame.write_ipc(path)


def cut(folder: Path, kind: str, frame: pl.DataFrame, size: int) -> Path:
    folder.mkdir()
    for number, start in enumerate(range(0, frame.height, size)):
        write(frame.slice(start, size), folder / f"part-{number}.{kind}")
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_one_table(tmp_path: Path, kind: str) -> None:
    frame = rows()
    folder = cut(tmp_path / "cut", kind, frame, 3)  # 14 files: part-10 follows part-9
    (folder / "README.md").write_text("not a shard")
    (folder / ".part.csv").write_text("hidden")
    whole = read_table(cut(tmp_path / "whole", kind, frame, 99), frame.columns)
    assert read_table(folder, frame.columns).equals(whole) and whole["id"].to_list() == frame["id"].to_list()
    assert read_table(folder / f"part-*.{kind}", frame.columns).equals(whole)
    assert table_columns(folder) == frame.columns
    lazy = lazy_table(folder, ["ID", "text"]).filter(pl.col("ID") > "0020").collect(engine="streaming")
    assert lazy["text"].to_list() == whole.filter(pl.col("id") > "0020")["text"].to_list()


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_of_shards_is_that_of_the_table(tmp_path: Path, kind: str) -> None:
    frame = rows()
    settings: dict[str, Any] = {"text": "text", "labels": "labels", "id": "id", "delimiter": ";"}
    write(frame, tmp_path / "one.csv")
    right = Table(tmp_path / "one.csv", **settings).records()
    folder = cut(tmp_path / "cut", kind, frame, 7)
    for root in (folder, folder / f"*.{kind}"):
        corpus = Table(root, **settings)
        corpus.check()
        assert corpus.records().frame.equals(right.frame)
    before = corpus.fingerprint()
    (folder / f"part-1.{kind}").rename(folder / f"part-99.{kind}")
    assert corpus.fingerprint() != before


def saved(folder: Path, frame: pl.DataFrame, features: dict[str, Any], size: int = 9) -> Path:
    """A folder as `datasets` saves it."""
    folder.mkdir(parents=True)
    names = []
    for number, start in enumerate(range(0, frame.height, size)):
        names.append(f"data-{number:05}-of-00009.arrow")
        frame.slice(start, size).write_ipc_stream(folder / names[-1])
    state = {"_data_files": [{"filename": name} for name in names], "_indices_data_files": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


ONE = {"names": ["flu", "gout"], "_type": "ClassLabel"}
TEXT = {"dtype": "string", "_type": "Value"}


def test_a_saved_dataset_has_the_names_of_its_classes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", "b", "c"], "one": [0, 1, -1], "many": [[1, 0], [], [1]], "n": [7, 8, 9]})
    features = {"text": TEXT, "one": ONE, "many": {"feature": ONE, "_type": "Sequence"}, "n": {"dtype": "int64"}}
    root = saved(tmp_path / "set", frame, features, 2)
    found = read_table(root, ["text", "one", "many", "n"], lists=["many"])
    assert found["one"].to_list() == ["flu", "gout", None] and found["n"].to_list() == ["7", "8", "9"]
    assert found["many"].to_list() == [["gout", "flu"], [], ["gout"]]
    labels = Table(root, text="text", labels="many").records().frame["labels"].to_list()
    assert labels == [["gout", "flu"], [], ["gout"]]


def test_splits_of_a_saved_dataset_are_a_column(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"text": [f"note {number}" for number in range(30)], "label": [number % 2 for number in range(30)]}
    )
    for name, start, size in (("train", 0, 20), ("test", 20, 10)):
        saved(tmp_path / "set" / name, frame.slice(start, size), {"text": TEXT, "label": ONE})
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    corpus = Table(tmp_path / "set", text="text", labels="label", split="split")
    corpus.check()
    records = corpus.records()
    assert records.frame["labels"].to_list() == [[("flu", "gout")[number % 2]] for number in range(30)]
    assert records.splits is not None and list(records.splits.values()) == ["train"] * 20 + ["test"] * 10


def test_a_half_copied_dataset_is_an_error(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a", "b"]})
    saved(tmp_path / "set" / "train", frame, {"text": TEXT})
    for splits, law in (
        (["train", "test"], "a saved dataset must have its splits, .*set lacks test; copy it again"),
        ([], "a saved dataset must have its splits, .*set lacks any; copy it again"),
    ):
        (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        with pytest.raises(MissingFileError, match=law):
            read_table(tmp_path / "set", ["text"])
    saved(tmp_path / "set" / "test", frame, {"text": TEXT})
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    assert read_table(tmp_path / "set", ["text"]).height == 4
    (tmp_path / "set" / "test" / "state.json").unlink()
    with pytest.raises(MissingFileError, match="set lacks test; copy it again"):
        read_table(tmp_path / "set", ["text"])


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_a_shard_without_any_list_is_as_in_one_file(tmp_path: Path, kind: str) -> None:
    labels = [["flu"], ["gout", "flu"], None, None, [], ["flu"]]
    frame = pl.DataFrame({"text": list("abcdef"), "labels": labels})
    folder = cut(tmp_path / "cut", kind, frame, 2)  # the second shard has nulls alone
    if kind != "jsonl":
        write(pl.DataFrame({"text": ["c", "d"], "labels": [None, None]}), folder / f"part-1.{kind}")
    whole = read_table(cut(tmp_path / "whole", kind, frame, 99), ["text", "labels"], lists=["labels"])
    assert read_table(folder, ["text", "labels"], lists=["labels"]).equals(whole)
    assert whole["labels"].to_list() == labels
    found = Table(folder, text="text", labels="labels").records().frame
    assert found.equals(Table(tmp_path / "whole", text="text", labels="labels").records().frame)


def test_spans_of_a_saved_dataset(tmp_path: Path) -> None:
    spans = [[{"start": 0, "end": 4, "label": "DRUG"}], []]
    root = saved(tmp_path / "set", pl.DataFrame({"text": ["iron pill", "none"], "spans": spans}), {"text": TEXT})
    found = SpanTable(root, words=None).records().frame["spans"].to_list()
    assert found == spans


@pytest.mark.parametrize(
    ("files", "law"),
    [
        ({}, "a table must be a file, a folder"),
        ({"a.csv": "x\n1\n", "b.tsv": "x\n1\n"}, "the files of a table must have one ending, got .csv, .tsv"),
        ({"a.csv": "x\n1\n", "b.csv": "y\nsecret words here\n"}, "the table must have the column 'x'"),
        ({"a.arrow": "secret"}, "an .arrow file must be Arrow"),
        ({"state.json": "secret"}, "a saved dataset must say what it is"),
        ({"state.json": "[" * 100_000}, "a saved dataset must say what it is"),
        *(
            ({name: json.dumps({key: value})}, f"a saved dataset must list .* by their names, .*{name}")
            for name, key, values in (
                ("state.json", "_data_files", (True, ["secret"], [{"filename": "x" * 300}], [{"filename": "../a"}])),
                ("dataset_dict.json", "splits", (None, [""], ["."], [7], ["\ud800"])),
            )
            for value in values
        ),
        ({"state.json": '{"_data_files": [{"filename": "a.arrow"}]}'}, "lacks a.arrow; copy it again"),
        (
            {"a.arrow": "", "state.json": '{"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [1]}'},
            "a saved dataset must be whole",
        ),
        ({"a.jsonl": '{"x": ["a"]}\n', "b.jsonl": '{"x": "a"}\n'}, "the files of a table must be alike"),
    ],
)
def test_bad_folders_are_errors_without_text(tmp_path: Path, files: dict[str, str], law: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=law) as error:
        read_table(tmp_path, ["x"], lists=["x"])
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("names", [None, True, [["secret"]], ["\ud800"]])
def test_names_of_classes_are_texts(tmp_path: Path, names: Any) -> None:
    root = saved(tmp_path / "set", pl.DataFrame({"text": ["a"], "label": [0]}), {"label": ONE | {"names": names}})
    with pytest.raises(DataError, match="the names of classes must be a list of texts, .*dataset_info.json"):
        read_table(root, ["label"])


def test_numbers_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    root = saved(tmp_path / "set", pl.DataFrame({"text": ["a"], "label": [5]}), {"label": ONE})
    with pytest.raises(DataError, match="numbers of classes must be below 2"):
        read_table(root, ["label"])


def test_a_missing_place_is_told(tmp_path: Path) -> None:
    for place in ("none.csv", "none/*.csv"):
        with pytest.raises(MissingFileError, match="a table must be a file, a folder"):
            shards(tmp_path / place)
        with pytest.raises(MissingFileError):
            Table(tmp_path / place, text="text", labels=None).check()
