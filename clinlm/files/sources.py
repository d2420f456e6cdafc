"""Which reader reads a file: the ending of its name says so."""

import sys
from pathlib import Path

from clinlm.files.delimited_source import DelimitedSource
from clinlm.files.json_lines_source import JsonLinesSource
from clinlm.files.parquet_source import ParquetSource
from clinlm.files.source import Source

STANDARD = Path("-")
"""Standard input or output."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


def source(path: Path, text: str, id: str | None) -> Source:
    """Return what reads `path`; see `clinlm.predict.settings.Settings` for the columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing reads such a file, or it lacks a column.
    """
    if path == STANDARD:
        return JsonLinesSource(path, text, id, sys.stdin.buffer)
    if not path.is_file():
        raise FileNotFoundError(f"notes are read from a file; there is none at {path}; set input to the file, or to -")
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix in JSON_LINES:
        return JsonLinesSource(path, text, id)
    if suffix in SEPARATORS:
        return DelimitedSource(path, text, id, SEPARATORS[suffix])
    if path.suffix == ".parquet":
        return ParquetSource(path, text, id)
    raise ValueError(
        f"the ending of input says what it is: {', '.join((*JSON_LINES, *SEPARATORS))} (also with .gz) or .parquet; "
        f"{path.name} has another; rename it"
    )
