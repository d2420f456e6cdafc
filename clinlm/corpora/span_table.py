"""A table of documents with a column of spans: CSV, TSV, JSON Lines or Parquet."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

import polars as pl

from clinlm.config.errors import ConfigError
from clinlm.corpora import table_rows
from clinlm.corpora.base import Corpus, Records, count_notices, digest_files
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.files.sources import check_columns
from clinlm.terminology.spans import Span, check_spans

_WHOLE = re.compile(r"[0-9]{1,15}")


@final
class SpanTable(Corpus):
    """One record per row of a file, one column of which lists the spans of the text. Records keep the file's order.

    The ending of the name gives the format: .csv, .tsv, .jsonl (these also with .gz) or .parquet. A cell of spans is a
    list of objects {"start": 0, "end": 4, "label": "X"} or of lists [0, 4, "X"], characters of the text, end exclusive;
    in .csv and .tsv as JSON, in .jsonl as JSON or a string of JSON, in .parquet as a list of structs or a string of
    JSON. A text without entities has [], since an empty cell may mean that nobody annotated the text.

    Rows with empty text are dropped, and so are rows that repeat another in every column used, both counted. Any other
    row with a repeated id is an error, and so is a span that leaves its text. Empty ids and groups are errors, empty
    attributes are null. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the file.
        text: the column with the text.
        spans: the column with its spans.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        id: the column that names a document; None numbers the data rows from 1.
        group: the column of what must not span two splits, such as the patient; None takes the id.
        keys: names of start, end and label in the file.
        attributes: columns for reports by subgroup.

    Raises:
        ConfigError: a setting has the wrong type.
    """

    def __init__(
        self,
        root: str | Path,
        text: str = "text",
        spans: str = "spans",
        map: Mapping[str, str] | None = None,
        id: str | None = None,
        group: str | None = None,
        keys: Sequence[str] = ("start", "end", "label"),
        attributes: Sequence[str] = (),
    ) -> None:
        if isinstance(attributes, str) or len(set(attributes)) < len(attributes):
            raise ConfigError(f"attributes must be a list of different columns, got {attributes!r}; set [{attributes}]")
        if isinstance(keys, str) or len(set(keys)) != 3 or len(keys) != 3:
            raise ConfigError(f"keys must be the names of start, end and label, got {keys!r}; set [start, end, label]")
        if spans in (text, id, group, *attributes):
            raise ConfigError(f"spans must be a column of its own, {spans!r} is set for something else; set another")
        self.root: Path = Path(root)
        self.text = text
        self.spans = spans
        self.map = map
        self.id = id
        self.group = group
        self.keys = tuple(keys)
        self.attributes = tuple(attributes)

    def check(self) -> None:
        """Check also that the file has the columns, as far as its beginning shows."""
        super().check()
        check_columns(self.root, self._columns())

    def records(self) -> Records:
        """See `Corpus.records`.

        Raises:
            MissingFileError: the file does not exist.
            DataError: also if a cell is not a list of spans, a span leaves its text, an id or group is empty, or an id
                is on different rows.
        """
        rows = table_rows.numbered_rows(self.root, self._columns(), nested=[self.spans])
        kept = table_rows.rows_with_text(self.root, rows, self.text)
        frame = kept.select(
            table_rows.ROW,
            *table_rows.identity(self.root, kept, self.id, self.group),
            pl.col(self.text).alias("text"),
            table_rows.attribute_struct(self.attributes),
            pl.col(self.spans).alias("spans"),
        )
        distinct = table_rows.distinct_documents(self.root, frame)
        counts = [
            (rows.height - kept.height, f"of {rows.height:,} rows dropped: empty text"),
            (frame.height - distinct.height, f"of {rows.height:,} rows dropped: duplicates"),
        ]
        return span_records(self._documents(distinct), self.map, count_notices(counts))

    def fingerprint(self) -> str:
        return digest_files([self.root])

    def _columns(self) -> list[str]:
        used = [self.text, self.spans, *(c for c in (self.id, self.group) if c is not None), *self.attributes]
        return list(dict.fromkeys(used))

    def _documents(self, rows: pl.DataFrame) -> list[SpanDocument]:
        found, wrong, outside = [], [], []
        for row, id, group, text, attributes, cell in rows.iter_rows():
            spans = self._parsed(cell)
            if spans is None:
                wrong.append(row)
                continue
            try:
                check_spans(spans, len(text))
            except ValueError:
                outside.append(row)
            found.append(SpanDocument(id, group, text, spans, attributes=attributes))
        names = ", ".join(self.keys)
        needed = f"a list of spans, each with {names}, or [] for none"
        table_rows.require_no_rows(self.root, wrong, self.spans, needed)
        table_rows.require_no_rows(self.root, outside, self.spans, "spans of at least one character inside their text")
        return found

    def _parsed(self, cell: str | None) -> list[Span] | None:
        """Return the spans of a cell; None if it holds something else."""
        try:
            values = json.loads(cell or "")
        except ValueError:
            return None
        if not isinstance(values, list):
            return None
        parts = [[item.get(key) for key in self.keys] if isinstance(item, dict) else item for item in values]
        spans = [_span(*part) if isinstance(part, list) and len(part) == 3 else None for part in parts]
        found = [span for span in spans if span is not None]
        return found if len(found) == len(spans) else None


def _span(start: object, end: object, label: object) -> Span | None:
    """Return a span, None if invalid; numbers may be strings, as in .jsonl, and so a label may be a number."""
    if any(isinstance(part, bool) or not isinstance(part, int | str) for part in (start, end, label)):
        return None
    name = str(label).strip()
    if not (_WHOLE.fullmatch(str(start)) and _WHOLE.fullmatch(str(end)) and name and name.isprintable()):
        return None
    return Span(int(str(start)), int(str(end)), name)
