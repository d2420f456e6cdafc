"""Files of notes in every format that is read."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

Notes = Sequence[tuple[str, str]]


def csv_text(notes: Notes, separator: str = ",") -> str:
    """Return the notes as delimited text, every cell in quotes."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([("id", "other", "text"), *((id, "", note) for id, note in notes)])
    return text.getvalue()


def write_notes(notes: Notes, path: Path) -> Path:
    """Write notes into a file, in the format that the ending of its name selects, and return the path."""
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix == ".parquet":
        pl.DataFrame(notes, schema=["id", "text"], orient="row").write_parquet(path, row_group_size=16)
        return path
    if suffix in (".csv", ".tsv"):
        text = csv_text(notes, {".csv": ",", ".tsv": "\t"}[suffix])
    else:
        text = "".join(json.dumps({"text": note, "id": id}) + "\n" for id, note in notes)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path
