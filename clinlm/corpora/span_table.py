"""A table of documents with a column of spans: CSV, TSV, JSON Lines or Parquet."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import polars as pl

from clinlm.config.errors import ConfigError, DataError
from clinlm.corpora import table_rows
from clinlm.corpora.base import Corpus, NearDuplicates, Records, check_near_duplicates, count_notices, digest_files
from clinlm.corpora.offsets import Fragment
from clinlm.corpora.span_records import SpanDocument, span_records
from clinlm.corpora.standoff import Annotated, Annotation, locate, standoff_notices
from clinlm.files.columns import shown
from clinlm.files.shards import are_there, shards
from clinlm.files.sources import check_columns
from clinlm.terminology.spans import Span

_WHOLE = re.compile(r"([0-9]{1,15})(?:\.0+)?")


class _Mark(NamedTuple):
    """A span as in its cell."""

    fragment: Fragment
    labels: tuple[str, ...]
    words: str | None

    def annotations(self, number: int) -> list[Annotation]:
        """Return the span once per label."""
        return [Annotation(f"span {number:,}", label, (self.fragment,), self.words) for label in self.labels]


@final
class SpanTable(Corpus):
    """One record per row of a file, one column of which lists the spans of the text. Records keep the file's order.

    The ending of the name gives the format: .csv, .tsv, .jsonl (these also with .gz) or .parquet. A cell of spans is a
    list of objects {"start": 0, "end": 4, "label": "X"} or of lists [0, 4, "X"], characters of the text, end exclusive;
    in .csv and .tsv as JSON or as Python writes it, in .jsonl as JSON or a string of JSON, in .parquet as a list of
    structs or a string of JSON. A text without entities has [], since an empty cell may mean that nobody annotated it.
    A list of labels is a span per label; a span without label or character is dropped and counted.

    What offsets count is detected by the words of the spans or, if they carry none, by the edges of words that they fit
    (`clinlm.corpora.standoff.locate`). A span whose words are not at its offsets is dropped, and a notice names it.

    Rows with empty text are dropped, and so are rows that repeat another in every column used, both counted. Any other
    row with a repeated id is an error, and so is a span that leaves its text. Empty ids and groups are errors, empty
    attributes are null. See `clinlm.corpora.span_records` for the rest.

    Args:
        root: the file, or several, as of `clinlm.corpora.table`.
        text: the column with the text.
        spans: the column with its spans.
        map: label of the file -> label of the records, others are dropped; None keeps all.
        id: the column that names a document; None numbers the data rows from 1.
        group: the column of what must not span two splits, such as the patient; None takes the id.
        keys: names of start, end and label in the file; a.b names b inside a.
        words: name of the words of a span, where it has any; None does not check them.
        attributes: columns for reports by subgroup.
        near_duplicates: `count`, `merge` or `ignore` those of other groups; see `clinlm.corpora.repeats`.

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
        words: str | None = "text",
        attributes: Sequence[str] = (),
        near_duplicates: NearDuplicates = "count",
    ) -> None:
        if isinstance(attributes, str) or len(set(attributes)) < len(attributes):
            raise ConfigError(f"attributes must be a list of different columns, got {attributes!r}; set [{attributes}]")
        if isinstance(keys, str) or len(set(keys)) != 3 or len(keys) != 3:
            raise ConfigError(f"keys must be the names of start, end and label, got {keys!r}; set [start, end, label]")
        if spans in (text, id, group, *attributes):
            raise ConfigError(f"spans must be a column of its own, {spans!r} is set for something else; set another")
        table_rows.check_roles([text], id=id, group=group)
        self.root: Path = Path(root)
        self.near_duplicates = check_near_duplicates(near_duplicates)
        self.text = text
        self.spans = spans
        self.map = map
        self.id = id
        self.group = group
        self.keys = tuple(keys)
        self.words = words
        self.attributes = tuple(attributes)

    def check(self) -> None:
        """Check also that the file has the columns, as far as its beginning shows."""
        if not are_there(self.root):
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
        kept = table_rows.rows_with_text(self.root, rows, [self.text], self.text)
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
        documents, notices = self._documents(distinct)
        return span_records(documents, self.map, [*count_notices(counts), *notices])

    def fingerprint(self) -> str:
        return digest_files(shards(self.root))

    def _columns(self) -> list[str]:
        used = [self.text, self.spans, *(c for c in (self.id, self.group) if c is not None), *self.attributes]
        return list(dict.fromkeys(used))

    def _documents(self, rows: pl.DataFrame) -> tuple[list[SpanDocument], list[str]]:
        """Return the documents, and notices on their spans."""
        annotated, unlabelled = self._annotated(rows)
        every = [annotation for own in annotated for annotation in own.annotations]
        if unlabelled and not every:
            raise DataError(f"a span must have a label, none of {unlabelled:,} in {self.root.name} has; set keys")
        located = locate(annotated)
        found, outside = [], []
        for (row, id, group, _, attributes, _), own, placed in zip(rows.iter_rows(), annotated, located, strict=True):
            both = list(zip(own.annotations, placed.fragments, strict=True))
            if any(place is None and one.words is None and not one.empty for one, place in both):
                outside.append(row)
            spans = [Span(*part, one.label) for one, place in both for part in place or ()]
            found.append(SpanDocument(id, group, placed.text, spans, attributes=attributes))
        table_rows.require_no_rows(self.root, outside, self.spans, "spans of at least one character inside their text")
        worded = any(annotation.words is not None for annotation in every)
        remedy = f"count offsets in characters of the text, or set words to null if {self.words!r} is not their words"
        counts = [(unlabelled, "spans dropped: without label")]
        return found, [*count_notices(counts), *standoff_notices(annotated, located, worded, remedy)]

    def _annotated(self, rows: pl.DataFrame) -> tuple[list[Annotated], int]:
        """Return the spans of every row, and the number of those without label."""
        found, wrong, unlabelled = [], [], 0
        keys: dict[str, None] = {}
        for row, id, _, text, _, cell in rows.iter_rows():
            values = _parsed(cell)
            marks = [self._marked(value) for value in values or ()]
            solid = [mark for mark in marks if mark is not None]
            if values is None or len(solid) < len(marks):
                wrong.append(row)
                keys |= dict.fromkeys(str(key) for value in values or () if isinstance(value, dict) for key in value)
            unlabelled += sum(not mark.labels for mark in solid)
            own = [annotation for n, mark in enumerate(solid, start=1) for annotation in mark.annotations(n)]
            found.append(Annotated(id, text, own))
        there = f" (their spans have {shown(list(keys))}: set keys to three of them)" if keys else ""
        needed = f"a list of spans, each with {', '.join(self.keys)}, or [] for none{there}"
        table_rows.require_no_rows(self.root, wrong, self.spans, needed)
        return found, unlabelled

    def _marked(self, value: object) -> _Mark | None:
        """Return a span of a cell, None if invalid."""
        if isinstance(value, dict):
            parts = [_found(value, key) for key in self.keys]
            words = None if self.words is None else value.get(self.words)
        elif isinstance(value, list | tuple) and len(value) == 3:
            parts, words = list(value), None
        else:
            return None
        start, end = (_whole(part) for part in parts[:2])
        labels = _labels(parts[2])
        if start is None or end is None or labels is None:
            return None
        return _Mark((start, end), labels, words.strip() or None if isinstance(words, str) else None)


def _parsed(cell: str | None) -> list[object] | None:
    """Return the list that a cell holds, as JSON or as Python writes it; None if it holds something else."""
    try:
        values = json.loads(cell or "")
    except (ValueError, RecursionError):
        try:
            values = ast.literal_eval(cell or "")
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return values if isinstance(values, list) else None


def _found(value: Mapping[str, object], key: str) -> object:
    """Return the value of a key, which may be a path such as value.start; an ellipsis if there is none."""
    own, _, rest = key.partition(".")
    if key in value or not rest:
        return value.get(key, ...)
    inner = value.get(own)
    return _found(inner, rest) if isinstance(inner, dict) else ...


def _whole(value: object) -> int | None:
    """Return an offset; None if it is none. It may be text, as in JSON Lines, or a float, as pandas writes it."""
    found = None if isinstance(value, bool) else _WHOLE.fullmatch(str(value))
    return int(found[1]) if found else None


def _labels(value: object) -> tuple[str, ...] | None:
    """Return the labels of a span, empty for null; None if they are none. Labels may be numbers."""
    if isinstance(value, list):
        found = [_labels(one) for one in value]
        return None if None in found else tuple(label for own in found for label in own or ())
    if value is None:
        return ()
    name = "" if isinstance(value, bool) or not isinstance(value, int | str) else str(value).strip()
    return (name,) if name and name.isprintable() else None
