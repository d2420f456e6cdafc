"""Laws of the OMOP reader: files, DuckDB and PostgreSQL give the same records, which are those of a slower way."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.postgres import Server, started

from clinlm.config.errors import ConfigError, DataError, MissingExtraError, MissingFileError
from clinlm.corpora.base import COLUMNS
from clinlm.corpora.omop import omop
from clinlm.corpora.omop.omop import Omop
from clinlm.corpora.synthetic.omop_tables import LOCAL, OMOP_COLUMNS, SyntheticOmop
from clinlm.files import database

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticOmop(tmp_path_factory.mktemp("omop"), patients=50).tables()


def read(root: Path, table: str) -> Rows:
    with (root / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def expected(root: Path, column: str, key: str) -> dict[str, tuple[str, str, list[str]]]:
    """note_id -> person, text and labels, in pure Python."""
    conditions: dict[str, list[str]] = {}
    for row in sorted(read(root, "condition_occurrence"), key=lambda row: int(row["condition_occurrence_id"])):
        if row[column] not in ("", "0") and row[column] not in conditions.setdefault(row[key], []):
            conditions[row[key]].append(row[column])
    notes = [row for row in read(root, "note") if row["note_text"].strip()]
    return {
        row["note_id"]: (row["person_id"], row["note_text"], conditions.get(row[key], []))
        for row in sorted(notes, key=lambda row: int(row["note_id"]))
    }


def found(corpus: Omop) -> dict[str, tuple[str, str, list[str]]]:
    frame = corpus.records().frame
    assert tuple(frame.columns) == COLUMNS
    return {
        id: (group, text, own) for id, group, text, own in frame.select("id", "group", "text", "labels").iter_rows()
    }


@pytest.mark.parametrize("scope", ["visit", "person"])
@pytest.mark.parametrize("conditions", ["concept", "source"])
def test_generated_tables_come_out_as_by_a_slower_way(root: Path, conditions: Any, scope: Any) -> None:
    corpus = Omop(root, conditions, scope)
    corpus.check()
    column = {"concept": "condition_concept_id", "source": "condition_source_value"}[conditions]
    right = expected(root, column, {"visit": "visit_occurrence_id", "person": "person_id"}[scope])
    assert found(corpus) == right and list(found(corpus)) == list(right) and len(right) > 60
    told = " ".join(corpus.records().notices)
    assert "notes dropped: empty text" in told and not corpus.remote_allowed
    assert ("notes have no visit" in told) == (scope == "visit")
    assert ("conditions dropped: no condition_concept_id (or 0)" in told) == (conditions == "concept")


def test_attributes(root: Path) -> None:
    people = {row["person_id"]: row for row in read(root, "person")}
    notes = {row["note_id"]: row for row in read(root, "note")}
    for id, own in Omop(root).records().frame.select("id", "attributes").iter_rows():
        person, note = people[notes[id]["person_id"]], notes[id]
        years = int(note["note_date"][:4]) - int(person["year_of_birth"])
        assert own["age"] == ("90+" if years >= 90 else str(years))
        assert own["gender"] == {"8507": "M", "8532": "F"}[person["gender_concept_id"]]
        assert own["visit"] == ("inpatient" if note["visit_occurrence_id"] else None)
        assert own["note_class"] == note["note_class_concept_id"] and (own["race"] or "White") != "0"


def test_note_classes_are_chosen(root: Path) -> None:
    every = Omop(root, conditions="none").records()
    some = Omop(root, conditions="none", note_classes=[44814637]).records()
    assert every.frame["labels"].list.len().sum() == 0
    assert set(some.frame["attributes"].struct.field("note_class")) == {"44814637"}
    assert any("of another note class" in notice for notice in some.notices) and some.frame.height < every.frame.height


def shards_of(root: Path, folder: Path, kind: str) -> Path:
    """The same tables as shards, ten rows or so each, with numbers as numbers where the kind has them."""
    for table in OMOP_COLUMNS:
        (folder / table.upper()).mkdir(parents=True)
        texts = {"condition_source_value": pl.String()}
        frame = pl.read_csv(root / f"{table}.csv", infer_schema=kind == "parquet", schema_overrides=texts)
        for place, start in enumerate(range(0, frame.height, 97)):
            part, path = frame.slice(start, 97), folder / table.upper() / f"part-{place}.{kind}"
            part.write_parquet(path) if kind == "parquet" else part.write_csv(path)
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_shards_give_the_same_records(root: Path, tmp_path: Path, kind: str) -> None:
    corpus = Omop(shards_of(root, tmp_path, kind))
    assert corpus.records().frame.equals(Omop(root).records().frame)
    before = corpus.fingerprint()
    path = max((tmp_path / "NOTE").iterdir())
    path.rename(path.with_name("part-999." + kind))
    assert corpus.fingerprint() != before, "names of shards give their order"


def test_a_file_of_duckdb_gives_the_same_records(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: make integration does it")
    path = tmp_path / "cdm.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE SCHEMA cdm")  # as the database: names have to be whole
        for table in OMOP_COLUMNS:
            connection.execute(f"CREATE TABLE cdm.cdm.{table} AS SELECT * FROM read_csv('{root / table}.csv')")
    corpus = Omop(path, schema="cdm")
    corpus.check()
    right = Omop(root).records().frame
    assert corpus.records().frame.equals(right)
    monkeypatch.setattr(database, "PART", 13)  # tables in many pieces
    assert corpus.records().frame.equals(right)
    before = corpus.fingerprint()
    query = "SELECT * FROM cdm.cdm.note WHERE note_class_concept_id = 44814637;"
    chosen = Omop(path, schema="cdm", note_query=query)
    assert chosen.records().frame.equals(Omop(root, note_classes=[44814637]).records().frame)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE cdm.cdm.note SET note_text = 'other' WHERE note_id % 2 = 1")
    assert corpus.fingerprint() != before
    for bad in ("SELECT 1 FROM nothing", f"SELECT * FROM read_csv('{root}/note.csv')", "DROP TABLE cdm.cdm.note"):
        with pytest.raises(DataError, match="the database must answer, cdm.duckdb does not"):
            Omop(path, schema="cdm", note_query=bad).records()


def test_views_of_duckdb_are_read_as_tables(root: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: make integration does it")
    path = tmp_path / "hospital.duckdb"
    with duckdb.connect(str(path)) as connection:
        for table in OMOP_COLUMNS:
            connection.execute(f"CREATE TABLE own_{table} AS SELECT * FROM read_csv('{root / table}.csv')")
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM own_{table}")
    assert Omop(path).records().frame.equals(Omop(root).records().frame)


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[Server]:
    with started() as server:
        for table, columns in OMOP_COLUMNS.items():
            kinds = ", ".join(f"{name} {_kind(name)}" for name in columns.split())
            server.run(f"CREATE SCHEMA IF NOT EXISTS cdm; CREATE TABLE cdm.{table} ({kinds});")
            server.run(f"COPY cdm.{table} FROM STDIN WITH (FORMAT csv, HEADER)", (root / f"{table}.csv").read_bytes())
        yield server


def _kind(column: str) -> str:
    if column.endswith(("_id", "of_birth")):
        return "integer" if column != "note_id" else "bigint"
    return {"date": "date", "datetime": "timestamp"}.get(column.rpartition("_")[2], "text")


@pytest.mark.integration
def test_a_postgresql_server_gives_the_same_records(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: make integration does it")
    monkeypatch.setenv("CLINLM_TEST_OMOP", server.address)
    corpus = Omop(None, connection="CLINLM_TEST_OMOP", schema="cdm")
    corpus.check()
    assert corpus.records().frame.equals(Omop(root).records().frame)
    mark = corpus.fingerprint()
    server.run("UPDATE cdm.person SET person_source_value = 'x'")
    assert corpus.fingerprint() == mark, "columns that are not read do not count, nor does the order of rows"
    server.run("UPDATE cdm.note SET note_text = note_text || '.' WHERE note_id = (SELECT min(note_id) FROM cdm.note)")
    assert corpus.fingerprint() != mark
    server.run("CREATE TABLE cdm.secret (a text)")
    for bad in ("DROP TABLE cdm.secret", "SELECT 'secret'::int AS note_id", "SELECT * FROM cdm.nothing"):
        with pytest.raises(DataError, match="the database must answer, the database of CLINLM_TEST_OMOP") as error:
            Omop(None, connection="CLINLM_TEST_OMOP", schema="cdm", note_query=bad).records()
        assert "secret" not in str(error.value) and server.password not in str(error.value)
    monkeypatch.setenv("CLINLM_TEST_OMOP", server.address.replace(server.password, "wrong-password"))
    with pytest.raises(DataError, match="OperationalError") as error:
        corpus.records()
    assert "wrong-password" not in str(error.value) and error.value.__cause__ is None


@pytest.mark.integration
def test_no_record_of_a_run_has_the_password(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: make integration does it")
    import subprocess
    import sys

    words = ["task=conditions", "task.root=null", "task.corpus.connection=CLINLM_TEST_OMOP", "task.corpus.schema=cdm"]
    words += ["task.labels=5", "task.max_tokens=32", "pipeline=baseline", "model@teacher=tiny", "epochs=1"]
    words += ["report.resamples=20", "report.latency_documents=3", "report.latency_passes=1"]
    done = subprocess.run(
        [sys.executable, "-m", "clinlm", *words, f"store={tmp_path / 'store'}", f"hydra.run.dir={tmp_path / 'run'}"],
        env={**os.environ, "CLINLM_TEST_OMOP": server.address, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "run.json" for path in files)
    holders = [path for path in files if server.password.encode() in path.read_bytes()]
    assert holders == [] and server.password not in done.stdout + done.stderr


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    (tmp_path / "cdm.duckdb").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'clinlm\[duckdb\]'"):
        Omop(tmp_path / "cdm.duckdb").records()


def small(root: Path, **tables: Sequence[Sequence[object]]) -> Path:
    own: dict[str, Sequence[Sequence[object]]] = {
        "person": [(1, 8507, 1950, "", "", "", 0, 0, "")],
        "visit_occurrence": [(5, 1, 9201, "2020-01-01", "", "2020-01-02", "", 0)],
        "condition_occurrence": [(9, 1, 320128, "2020-01-01", 0, "I10", 0, 5)],
        "note": [(7, 1, "2020-01-02", "", 0, 0, "", "text", 0, 0, 5, "")],
        **tables,
    }
    for table, columns in OMOP_COLUMNS.items():
        if own[table] is not None:
            with (root / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([columns.split(), *own[table]])
    return root


@pytest.mark.parametrize(
    ("tables", "law"),
    [
        ({"note": 2 * [(7, 1, "", "", 0, 0, "", "secret", 0, 0, 5, "")]}, "note_id must be unique"),
        ({"note": [(7, "", "", "", 0, 0, "", "secret", 0, 0, 5, "")]}, "a note must have a person_id, 1 of 1"),
        ({"note": [("secret", 1, "", "", 0, 0, "", "secret", 0, 0, 5, "")]}, "note_id must be a whole number"),
        ({"note": [(7, 1, "", "", 0, 0, "", " ", 0, 0, 5, "")]}, "1 of 1 notes dropped: empty text"),
        ({"condition_occurrence": [(9, 2, 3, "", 0, "secret", 0, 5)]}, "a visit must be of one person, 1 visits"),
        ({"condition_occurrence": [(9, 1, 3, "", 0, "secret", 0, 6)]}, "notes must have conditions"),
        ({"condition_occurrence": None}, "the table condition_occurrence must have .* it is not there"),
        (
            {"condition_occurrence": [(9, 1, 3, "", 0, "I10", 0, 5), (10, 1, 3, "", 0, "I11", 0, "secret")]},
            "visit_occurrence_id must be a whole number, condition_occurrence has 1 rows",
        ),
        (
            {"person": [("secret", 8507, 1950, "", "", "", 0, 0, "")]},
            "person_id must be a whole number, person has 1 rows",
        ),
        (
            {"visit_occurrence": [("5.5", 1, 9201, "secret", "", "2020-01-02", "", 0)]},
            "visit_occurrence_id must be a whole number, visit_occurrence has 1 rows",
        ),
        ({"person": 2 * [(1, 8507, 1950, "", "", "", 0, 0, "")]}, "person must have one row per person_id"),
    ],
)
def test_bad_tables_are_errors_without_text(tmp_path: Path, tables: Any, law: str) -> None:
    with pytest.raises(DataError, match=law) as error:
        Omop(small(tmp_path, **tables)).records()
    assert "secret" not in str(error.value)


def test_persons_and_visits_are_not_needed(tmp_path: Path) -> None:
    root = small(tmp_path)
    before = Omop(root).records()
    assert before.frame["labels"].to_list() == [["320128"]] and before.frame["attributes"][0]["age"] == "70"
    (root / "person.csv").unlink()
    (root / "visit_occurrence.csv").unlink()
    after = Omop(root).records()
    assert after.frame.drop("attributes").equals(before.frame.drop("attributes"))
    assert after.frame["attributes"][0]["age"] is None and after.notices[:2] == (
        "the table person is missing: its attributes are empty",
        "the table visit_occurrence is missing: its attributes are empty",
    )


def test_a_table_lies_once(tmp_path: Path) -> None:
    root = small(tmp_path)
    (root / "NOTE.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="a table must be one file or folder"):
        Omop(root).records()


class Stub(database.Database):
    """The tables of a folder, but for NOTE, and a query that answers with that."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.tables = {table: pl.read_csv(root / f"{table}.csv", infer_schema=False) for table in OMOP_COLUMNS}

    def batches(self, queries: Sequence[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for query in queries:
            named = re.search(r"lower\(table_name\) = '(\w+)'", query)
            if named is not None:
                there = [] if named[1] == "note" else self.tables[named[1]].columns
                yield pl.DataFrame({"name": there}, schema={"name": pl.String()})
            else:
                source = query.rpartition(" FROM ")[2]
                yield self.tables["note" if source == "mine) AS chosen" else source].select(columns)


def test_notes_of_a_query_are_in_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(small(tmp_path))
    monkeypatch.setattr(omop, "_database", lambda *_: stub)
    corpus = Omop(None, connection="X", note_query="SELECT * FROM mine")
    corpus.check()
    assert corpus.records().frame["text"].to_list() == ["text"]
    before = corpus.fingerprint()
    stub.tables["note"] = stub.tables["note"].with_columns(note_text=pl.lit("other"))
    assert corpus.records().frame["text"].to_list() == ["other"] and corpus.fingerprint() != before


@pytest.mark.parametrize("name", ["note.csv", "cdm.csv"])
def test_a_root_that_is_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("note_id\n")
    corpus = Omop(tmp_path / name)
    for use in (corpus.check, corpus.records, corpus.fingerprint):
        with pytest.raises(MissingFileError, match="root must be a folder of tables or a .duckdb file, got"):
            use()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"conditions": "x"}, "conditions must be one of"),
        ({"scope": "x"}, "scope must be one of"),
        ({"root": None}, "root must be the folder"),
        ({"connection": "X"}, "the tables must be in one place"),
        ({"root": None, "connection": "postgresql://me:hidden@host/db"}, "connection must be the name of"),
        ({"root": None, "connection": "X", "schema": "a; DROP"}, "schema must be a name"),
        ({"schema": "cdm"}, "schema must be of a database"),
        ({"note_query": "SELECT 1"}, "note_query must ask a database"),
        ({"note_classes": []}, "note_classes must be a list"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        Omop(**{"root": "x", **settings})
    assert "hidden" not in str(error.value)


def test_an_unset_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: make integration does it")
    monkeypatch.delenv("CLINLM_TEST_OMOP", raising=False)
    with pytest.raises(ConfigError, match="the environment variable CLINLM_TEST_OMOP must hold"):
        Omop(None, connection="CLINLM_TEST_OMOP").records()


def test_generated_tables_stand_in_for_a_root(tmp_path: Path) -> None:
    corpus = Omop(None, generated=SyntheticOmop(tmp_path, patients=20))
    records = corpus.records()
    assert corpus.remote_allowed and records.notices[0].startswith("generated notes")
    labels = {label for own in records.frame["labels"] for label in own}
    assert labels and all(int(label) > LOCAL for label in labels)
