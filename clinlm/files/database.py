"""Tables of a database, read as text and in batches: a file of DuckDB, or a PostgreSQL server."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.config.extras import imported

BATCH: Final = 1_000
"""Rows of a batch."""

PART: Final = 8_192
"""Rows of a query to DuckDB."""

CACHE: Final = "512MB"
"""Most that DuckDB keeps of its file, and needs for a query, in memory."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Database(ABC):
    """Reads tables. Subclasses are final. Nothing is written; no message of the library is shown: it may quote rows.

    Args:
        schema: of the tables; None for that of the database.
    """

    def __init__(self, schema: str | None = None) -> None:
        self.schema = schema
        if schema is not None and not _NAME.fullmatch(schema):
            raise ConfigError(
                "schema must be a name of letters, digits and _, got something else; set the schema's name"
            )

    @property
    def place(self) -> str:
        """What stands before the name of a table."""
        return "" if self.schema is None else f"{self.schema}."

    @final
    def columns(self, table: str) -> list[str]:
        """Return the columns of a table, in lower case; none if there is no such table."""
        query = f"SELECT lower(column_name) AS name FROM information_schema.columns WHERE {self.named(table)}"
        return [name for frame in self.batches([query], ["name"]) for name in frame["name"]]

    @final
    def rows(self, table: str, columns: Sequence[str], source: str | None = None) -> Iterator[pl.DataFrame]:
        """Yield columns of a table, or of the query `source` instead, as frames of strings, in any order.

        Raises:
            DataError: the database refuses to read it.
        """
        origin = f"{self.place}{_plain(table)}" if source is None else f"({source.strip().rstrip(';')}) AS chosen"
        texts = ", ".join(f"CAST({_plain(name)} AS VARCHAR) AS {name}" for name in columns)
        parts = self.parts(table) if source is None else [""]
        yield from self.batches([f"SELECT {texts} FROM {origin}{part}" for part in parts], columns)

    @final
    def named(self, table: str) -> str:
        """Return the condition by which information_schema names a table."""
        place = "" if self.schema is None else f" AND lower(table_schema) = '{self.schema.lower()}'"
        return f"lower(table_name) = '{_plain(table)}'{place}"

    def parts(self, table: str) -> list[str]:
        """Return the conditions, written after the table's name, that read it piece by piece; one that is empty."""
        return [""]

    @abstractmethod
    def batches(self, queries: Sequence[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the answers of queries, all of whose columns are text, over one connection.

        Raises:
            DataError: the database refuses one.
        """


@final
class DuckDb(Database):
    """A file of DuckDB, opened to be read; it loads no extension, and no other file."""

    def __init__(self, path: Path, schema: str | None = None) -> None:
        super().__init__(schema)
        self.path = path

    @property
    def place(self) -> str:
        """With the database's own name, which is that of the file: `cdm.note` of cdm.duckdb would be ambiguous."""
        name = self.path.stem.replace('"', '""')
        return "" if self.schema is None else f'"{name}".{self.schema}.'

    def parts(self, table: str) -> list[str]:
        """See `Database.parts`: ranges of rows, as DuckDB holds the whole answer of a query in memory."""
        kind = f"SELECT table_type AS kind FROM information_schema.tables WHERE {self.named(table)}"
        if "BASE TABLE" not in [kind for frame in self.batches([kind], ["kind"]) for kind in frame["kind"]]:
            return super().parts(table)  # a view has no numbers of rows
        last = f"SELECT CAST(max(rowid) AS VARCHAR) AS last FROM {self.place}{_plain(table)}"
        (found,) = (value for frame in self.batches([last], ["last"]) for value in frame["last"])
        rows = 0 if found is None else int(found) + 1
        return [f" WHERE rowid >= {start} AND rowid < {start + PART}" for start in range(0, max(rows, 1), PART)]

    def batches(self, queries: Sequence[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        duckdb = imported("duckdb", "duckdb")
        closed = {"enable_external_access": "false", "autoinstall_known_extensions": "false"}
        settings = {**closed, "threads": "1", "memory_limit": CACHE}
        with _refusals(duckdb.Error, self.path.name):
            with closing(duckdb.connect(str(self.path), read_only=True, config=settings)) as connection:
                for query in queries:
                    answer = connection.execute(query)
                    while found := answer.fetchmany(BATCH):
                        yield _frame(found, columns)


@final
class Postgres(Database):
    """A PostgreSQL server; every query has a read-only transaction, and a cursor that stays on the server.

    Args:
        variable: name of the environment variable that holds the connection string (postgresql://USER:PASSWORD@HOST/
            NAME, or key=value words), so that no setting, record or log has a password.
        schema: of the tables; None for the search path of the user.

    Raises:
        ConfigError: `variable` is no name, or is not set.
    """

    def __init__(self, variable: str, schema: str | None = None) -> None:
        super().__init__(schema)
        if not _NAME.fullmatch(variable):
            raise ConfigError(
                "connection must be the name of an environment variable, got something else, which is not shown; if it "
                "was a password, change it, and set connection=NAME after export NAME=postgresql://..."
            )
        self.variable = variable

    def batches(self, queries: Sequence[str], columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        psycopg = imported("psycopg", "postgres")
        place = os.environ.get(self.variable)
        if not place:
            raise ConfigError(
                f"the environment variable {self.variable} must hold the connection string, it is not set; export it"
            )
        with _refusals(psycopg.Error, f"the database of {self.variable}"):
            with psycopg.connect(place, connect_timeout=30) as connection:
                connection.read_only = True
                for query in queries:
                    with connection.cursor(name="clinlm") as cursor:
                        cursor.execute(query)
                        while found := cursor.fetchmany(BATCH):
                            yield _frame(found, columns)


@contextmanager
def _refusals(kind: type[Exception], place: str) -> Iterator[None]:
    """Turn errors of a library into a DataError without its message, which may quote rows or the connection string."""
    try:
        yield
    except kind as error:
        state = getattr(error, "sqlstate", None)
        code = f", SQLSTATE {state}" if state else ""
        raise DataError(
            f"the database must answer, {place} does not ({type(error).__name__}{code}); check that it can be reached, "
            "the names of schema and tables, and the query"
        ) from None


def _frame(rows: Sequence[Any], columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String()), orient="row")


def _plain(name: str) -> str:
    """Return a name that needs no quotes in a query."""
    if not _NAME.fullmatch(name):
        raise ValueError("names of tables and columns are letters, digits and _")
    return name.lower()
