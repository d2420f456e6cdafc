"""OMOP CDM: notes, labelled with the conditions of their visit or patient."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, final, get_args

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora.base import (
    GENERATED,
    Corpus,
    NearDuplicates,
    Records,
    check_near_duplicates,
    count_dropped,
    count_notice,
)
from clinlm.corpora.omop.tables import OmopDatabase, OmopFolder, OmopTables
from clinlm.corpora.synthetic.omop_tables import SyntheticOmop
from clinlm.corpora.table_rows import age_text, is_blank
from clinlm.files.database import Database, DuckDb, Postgres
from clinlm.files.pandas_values import no_whole_number, non_missing, require_whole_numbers, whole_number

Conditions = Literal["concept", "source", "none"]
Scope = Literal["visit", "person"]

ATTRIBUTES: Final = ("gender", "age", "race", "ethnicity", "visit", "note_class")

_CODES: Final = {"concept": "condition_concept_id", "source": "condition_source_value"}
_NOTE = ("note_id", "person_id", "note_date", "note_class_concept_id", "note_text", "visit_occurrence_id")
_PERSON = ("person_id", "year_of_birth", "gender_concept_id", "race_concept_id", "ethnicity_concept_id")
_VISIT = ("visit_occurrence_id", "person_id", "visit_concept_id")
_NAMES: Final = {
    "8507": "M",
    "8532": "F",
    "8527": "White",
    "8516": "Black or African American",
    "8515": "Asian",
    "8657": "American Indian or Alaska Native",
    "8557": "Native Hawaiian or Other Pacific Islander",
    "38003563": "Hispanic or Latino",
    "38003564": "Not Hispanic or Latino",
    "9201": "inpatient",
    "9202": "outpatient",
    "9203": "emergency room",
    "262": "emergency room and inpatient",
}
"""Standard concepts of persons and visits -> what they are called in reports; others keep their number."""


@final
class Omop(Corpus):
    """One record per row of NOTE: its text, and the conditions of its visit or of its patient.

    Source: OMOP Common Data Model 5.3 and 5.4 (https://ohdsi.github.io/CommonDataModel/): NOTE, CONDITION_OCCURRENCE
    and, for attributes, VISIT_OCCURRENCE and PERSON. The tables are files (CSV or Parquet, each one file or a folder of
    shards), a file of DuckDB, or a PostgreSQL server; all give the same records.

    id = note_id, group = person_id; records are ordered by note_id. labels: the distinct conditions by
    condition_occurrence_id; without one a note stays, and is counted. Concept 0 and empty source values are no
    condition. Attributes: `ATTRIBUTES`, null where a table, or a value, is missing; the age is of note_date, in years
    since year_of_birth, from 90 on "90+". What is dropped is counted.

    Memory holds the kept notes, the conditions of their visits, and a batch.

    Args:
        root: folder of the tables, or a .duckdb file; None for a server, or generated notes.
        conditions: what a label is: `concept` (condition_concept_id), `source` (condition_source_value), or `none`.
        scope: `visit`, or `person`: all conditions of the patient, also later ones.
        note_classes: note_class_concept_id of the notes to keep; None for all.
        connection: name of the environment variable with the connection string of a PostgreSQL server.
        schema: of the tables of a database.
        note_query: a SELECT with the columns of NOTE, read instead of that table of a database.
        near_duplicates: `count`, `merge` or `ignore` those of other patients; see `clinlm.corpora.repeats`.
        generated: generates the tables if there is neither `root` nor `connection`.

    Raises:
        ConfigError: a setting is out of range, or both or none of `root` and `connection` are set.
    """

    remote_allowed = False

    def __init__(
        self,
        root: str | Path | None,
        conditions: Conditions = "concept",
        scope: Scope = "visit",
        note_classes: Sequence[int | str] | None = None,
        connection: str | None = None,
        schema: str | None = None,
        note_query: str | None = None,
        near_duplicates: NearDuplicates = "count",
        generated: SyntheticOmop | None = None,
    ) -> None:
        for name, value, choices in (("conditions", conditions, Conditions), ("scope", scope, Scope)):
            if value not in get_args(choices):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")
        if root is not None and connection is not None:
            raise ConfigError("the tables must be in one place, got root and connection; set one of them to null")
        if root is None and connection is None and generated is None:
            raise ConfigError("root must be the folder of the tables, got null; set task.root, or connection")
        if isinstance(note_classes, str) or (note_classes is not None and not note_classes):
            raise ConfigError(f"note_classes must be a list of concepts, or null for all, got {note_classes!r}")
        self.root: Path | None = None if root is None else Path(root)
        self.conditions, self.scope, self.generated = conditions, scope, generated
        self.note_classes = None if note_classes is None else tuple(map(str, note_classes))
        self.near_duplicates = check_near_duplicates(near_duplicates)
        self.made = root is None and connection is None
        self.remote_allowed = self.made
        self._database = _database(self.root, connection, schema)
        if note_query is not None and self._database is None:
            raise ConfigError("note_query must ask a database, the tables are files; set it to null")
        self.note_query = note_query

    def check(self) -> None:
        """Check also that the tables have their columns; of a server, that it answers."""
        super().check()
        if not self.made:
            self._check(self._tables())

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            DataError: also if a note has no person or a number twice, or conditions are of another person than the
                visit's note.
        """
        tables = self._tables()
        self._check(tables)
        notes, dropped = self._notes(tables)
        labels, unlabelled = self._labels(tables, notes)
        people, unknown = _people(tables, notes)
        frame = notes.join(people, on="note_id", how="left", maintain_order="left")
        frame = frame.join(labels, on="note_id", how="left", maintain_order="left").sort("note_id")
        records = frame.select(
            pl.col("note_id").cast(pl.String).alias("id"),
            pl.col("person_id").cast(pl.String).alias("group"),
            pl.col("note_text").alias("text"),
            pl.col("labels").fill_null(pl.lit([], dtype=pl.List(pl.String))),
            "attributes",
        )
        return Records(records, (*([GENERATED] if self.made else []), *dropped, *unlabelled, *unknown))

    def fingerprint(self) -> str:
        """See `Corpus.fingerprint`; of a server, a digest of the rows read; it generates nothing."""
        if self.made:
            assert self.generated is not None
            return self.generated.fingerprint()
        tables = {"note": _NOTE, "person": _PERSON, "visit_occurrence": _VISIT}
        if self.conditions != "none":
            tables["condition_occurrence"] = self._condition_columns()
        found = self._tables()
        needed = ("note", "condition_occurrence")
        return found.digest({name: own for name, own in tables.items() if name in needed or found.columns(name)})

    def _tables(self) -> OmopTables:
        if self._database is not None:
            return OmopDatabase(self._database, self.note_query)
        if self.root is None:
            assert self.generated is not None
            return OmopFolder(self.generated.tables())
        return OmopFolder(self.root)

    def _check(self, tables: OmopTables) -> None:
        if self.note_query is None:
            tables.require("note", _NOTE)
        if self.conditions != "none":
            tables.require("condition_occurrence", self._condition_columns())

    def _condition_columns(self) -> tuple[str, ...]:
        return ("condition_occurrence_id", "person_id", "visit_occurrence_id", _CODES[self.conditions])

    def _notes(self, tables: OmopTables) -> tuple[pl.DataFrame, list[str]]:
        """Return the notes to keep, with their ids as numbers, and notices."""
        filled = ~is_blank("note_text")
        wanted = pl.lit(True)
        if self.note_classes is not None:
            concept = whole_number("note_class_concept_id").cast(pl.String)
            wanted = concept.is_in(list(self.note_classes)).fill_null(False)
        text = pl.when(filled & wanted).then("note_text").alias("note_text")
        cut = [text, (~wanted).alias("other"), (wanted & ~filled).alias("empty")]
        notes = tables.read("note", _NOTE, lambda frame: frame.with_columns(cut))
        numbers = ("note_id", "person_id", "visit_occurrence_id")
        for column in numbers:
            require_whole_numbers(notes, column, "note")
        kept = notes.drop_nulls("note_text").with_columns(map(whole_number, numbers))
        notices = [
            *count_notice(int(notes["other"].sum()), notes.height, "notes dropped: of another note class"),
            *count_notice(int(notes["empty"].sum()), notes.height, "notes dropped: empty text"),
        ]
        if not kept.height:
            raise DataError(f"a corpus must have a note, the table note has none; {'; '.join(notices) or 'fill it'}")
        if kept["note_id"].null_count() or kept["note_id"].is_duplicated().any():
            raise DataError("note_id must be unique, in the table note some are missing or repeated; repair it")
        nobody = kept["person_id"].null_count()
        if nobody:
            raise DataError(f"a note must have a person_id, {nobody:,} of {kept.height:,} have none; repair the table")
        return kept.drop("other", "empty"), notices

    def _labels(self, tables: OmopTables, notes: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        """Return note_id and labels of the notes that have any, and notices."""
        if self.conditions == "none":
            return notes.select("note_id", pl.lit([], dtype=pl.List(pl.String)).alias("labels")), []
        key = "visit_occurrence_id" if self.scope == "visit" else "person_id"
        code = non_missing(_CODES[self.conditions]).str.strip_chars()
        code = whole_number(_CODES["concept"]).cast(pl.String) if self.conditions == "concept" else code
        known = notes[key].drop_nulls().unique().implode()
        rows = tables.read(
            "condition_occurrence",
            self._condition_columns(),
            lambda frame: frame.filter(_among(known, key)).with_columns(code.alias("code")),
        )
        for column in ("condition_occurrence_id", "person_id", "visit_occurrence_id"):
            require_whole_numbers(rows, column, "condition_occurrence")
        numbers = map(whole_number, ("condition_occurrence_id", "person_id", "visit_occurrence_id"))
        rows = rows.with_columns(numbers)
        coded = rows.filter(pl.col("code").is_not_null() & ~pl.col("code").is_in(["0", ""]))
        notices = count_dropped(rows, coded, f"conditions dropped: no {_CODES[self.conditions]} (or 0)")
        if self.scope == "visit":
            notices += count_notice(notes["visit_occurrence_id"].null_count(), notes.height, "notes have no visit")
            _check_owners(notes, coded)
        found = (
            coded.sort("condition_occurrence_id", nulls_last=True, maintain_order=True)
            .group_by(key)
            .agg(pl.col("code").unique(maintain_order=True).alias("labels"))
        )
        labels = notes.select("note_id", key).join(found, on=key, how="inner").select("note_id", "labels")
        if not labels.height:
            raise DataError(
                f"notes must have conditions, condition_occurrence has none for the {notes.height:,} notes by {key}; "
                "set scope, or conditions"
            )
        return labels, notices + count_notice(notes.height - labels.height, notes.height, "notes have no condition")


def _database(root: Path | None, connection: str | None, schema: str | None) -> Database | None:
    if connection is not None:
        return Postgres(connection, schema)
    if root is not None and root.suffix.lower() == ".duckdb":
        return DuckDb(root, schema)
    if schema is not None:
        raise ConfigError("schema must be of a database, the tables are files; set it to null")
    return None


def _check_owners(notes: pl.DataFrame, conditions: pl.DataFrame) -> None:
    owners = pl.concat([frame.select("visit_occurrence_id", "person_id") for frame in (notes, conditions)]).drop_nulls()
    several = owners.unique()["visit_occurrence_id"].value_counts().filter(pl.col("count") > 1).height
    if several:
        raise DataError(
            f"a visit must be of one person, {several:,} visits of notes and conditions are of several; repair them"
        )


def _people(tables: OmopTables, notes: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return note_id and the struct `attributes`, and notices."""
    missing = [name for name in ("person", "visit_occurrence") if not tables.columns(name)]
    people = _optional(tables, "person", _PERSON, notes["person_id"])
    visits = _optional(tables, "visit_occurrence", _VISIT, notes["visit_occurrence_id"]).drop("person_id")
    joined = notes.drop("note_text").join(people, on="person_id", how="left", maintain_order="left")
    joined = joined.join(visits, on="visit_occurrence_id", how="left", maintain_order="left")
    years = pl.col("note_date").str.head(4).cast(pl.Int64, strict=False) - whole_number("year_of_birth")
    named = {"note_class": "note_class_concept_id", "visit": "visit_concept_id"}
    fields = [_named(named.get(name, f"{name}_concept_id")).alias(name) for name in ATTRIBUTES if name != "age"]
    frame = joined.select("note_id", age_text(years), *fields)
    notices = [f"the table {name} is missing: its attributes are empty" for name in missing]
    return frame.select("note_id", pl.struct(ATTRIBUTES).alias("attributes")), notices


def _optional(tables: OmopTables, table: str, columns: Sequence[str], keys: pl.Series) -> pl.DataFrame:
    """Return the rows of a table whose first column is in `keys`, that as a number; none without the table."""
    if not tables.columns(table):
        schema = {name: pl.Int64() if name == columns[0] else pl.String() for name in columns}
        return pl.DataFrame(schema=schema)
    tables.require(table, columns)
    key, known = columns[0], keys.drop_nulls().unique().implode()
    rows = tables.read(table, columns, lambda frame: frame.filter(_among(known, key)))
    require_whole_numbers(rows, key, table)
    rows = rows.with_columns(whole_number(key))
    if rows[key].is_duplicated().any():
        raise DataError(f"{table} must have one row per {key}, but some are on several; repair the table")
    return rows


def _among(known: pl.Series, key: str) -> pl.Expr:
    """Return whether a row has one of the known keys, or one that is no number: such a row may be of any of them."""
    return whole_number(key).is_in(known) | no_whole_number(key)


def _named(column: str) -> pl.Expr:
    """Return the name of a concept; null for none, and for concept 0."""
    number = whole_number(column).cast(pl.String)
    known = number.replace_strict(_NAMES, default=number, return_dtype=pl.String)
    return pl.when(number != "0").then(known)
