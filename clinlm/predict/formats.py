"""Which reader reads a file, and which writer writes it: the ending of its name says so."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clinlm.predict.csv_sink import CsvSink
from clinlm.predict.delimited_source import DelimitedSource
from clinlm.predict.json_lines_sink import JsonLinesSink
from clinlm.predict.json_lines_source import JsonLinesSource
from clinlm.predict.parquet_sink import ParquetSink
from clinlm.predict.parquet_source import ParquetSource
from clinlm.predict.question import Question
from clinlm.predict.sink import Sink
from clinlm.predict.source import Source

STANDARD = Path("-")
"""Standard input or output."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
OUTPUTS = (".jsonl", ".csv", ".parquet")


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


def sink(path: Path, position: int, question: Question[Any], prefixes: Sequence[str]) -> Sink:
    """Return what writes `path` from `position` on; `path` ends in one of `OUTPUTS` or is `STANDARD`."""
    if path == STANDARD:
        return JsonLinesSink(None, position)
    if path.suffix == ".jsonl":
        return JsonLinesSink(path, position)
    return {".csv": CsvSink, ".parquet": ParquetSink}[path.suffix](path, position, question, prefixes)
