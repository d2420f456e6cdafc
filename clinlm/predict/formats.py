"""Which writer writes a file: the ending of its name says so."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clinlm.files.sources import STANDARD
from clinlm.predict.csv_sink import CsvSink
from clinlm.predict.json_lines_sink import JsonLinesSink
from clinlm.predict.parquet_sink import ParquetSink
from clinlm.predict.question import Question
from clinlm.predict.sink import Sink

OUTPUTS = (".jsonl", ".csv", ".parquet")


def sink(path: Path, position: int, question: Question[Any], prefixes: Sequence[str]) -> Sink:
    """Return what writes `path` from `position` on; `path` ends in one of `OUTPUTS` or is `STANDARD`."""
    if path == STANDARD:
        return JsonLinesSink(None, position)
    if path.suffix == ".jsonl":
        return JsonLinesSink(path, position)
    return {".csv": CsvSink, ".parquet": ParquetSink}[path.suffix](path, position, question, prefixes)
