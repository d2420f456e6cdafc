"""Guesses what the columns of a user's table are: text, labels, id, patient, split, date."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, final

import polars as pl

from clinlm.corpora.label_cells import LABEL_CHARACTERS
from clinlm.corpora.table import SPLIT_NAMES

Role = Literal["text", "labels", "spans", "id", "group", "split", "date", "constant", "other"]

_NAMES: Final = {
    "text": r"text|note|report|transcri|content|body|narrative|summary|document|abstract|sentence|impression",
    "labels": r"label|diagnos|code|icd|class|categor|target|special|tag|finding|outcome|symptom",
    "spans": r"span|entit|annotation|label|ner",
    "id": r"(^|_)(id|key|uuid|guid|accession|number|no)$|^(hadm|row|note|doc|sample|report)_?id$|^index$",
    "group": r"patient|subject|person|mrn|^pid$|participant|client|family|^group$",
    "date": r"date|time|_dt$|^dob$|year",
}
"""What columns of each role are called; a pattern is searched in the lower-case name."""

_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")
_FLAGS: Final = ("0", "1", "0.0", "1.0", "true", "false")
_UNSURE: Final = ("", "-1", "-1.0")
_DELIMITERS: Final = (";", "|", "\t", "\n", ",")
_SPANS = r'^\s*\[\s*(?:\]|\{.*"(?:start|begin|offset)|\[\s*"?\d+"?\s*,\s*"?\d+"?\s*,)'
_MEASURED = r"^\s*-?\d+\.\d*[1-9]\d*\s*$"
_MOST_LABELS = 2_000


@final
@dataclass(frozen=True)
class Column:
    """What the first rows say of a column.

    Attributes:
        values: different values that are not empty.
        filled: cells that are not empty.
        words: of a value, in the mean.
    """

    name: str
    cells: pl.Series = field(repr=False)
    filled: int
    values: int
    words: float

    @classmethod
    def of(cls, cells: pl.Series) -> "Column":
        """Look at the cells."""
        if cells.dtype != pl.String:
            return cls(cells.name, cells, cells.len() - cells.null_count(), cells.n_unique(), 0.0)
        filled = cells.filter(cells.str.contains(r"\S").fill_null(False))
        some = filled.head(500)
        words = int(some.str.count_matches(r"\S+").sum()) / max(1, some.len())
        return cls(cells.name, cells, filled.len(), filled.n_unique(), words)

    def named(self, role: str) -> bool:
        """Return whether the column is called as columns of a role are."""
        return re.search(_NAMES[role], self.name.lower()) is not None

    @property
    def is_list(self) -> bool:
        """Whether its cells are lists."""
        return self.cells.dtype != pl.String

    def share(self, pattern: str) -> float:
        """Return the share of the filled cells that a pattern is found in; 0 for lists."""
        if self.is_list or not self.filled:
            return 0.0
        return int(self.cells.str.contains(pattern).fill_null(False).sum()) / self.filled

    @property
    def is_flag(self) -> bool:
        """Whether it holds 0 and 1, or true and false; some rows may be `unsure`."""
        if self.is_list or not 1 <= self.values <= 6:
            return False
        values = {value.strip().lower() for value in self.cells.drop_nulls().unique()}
        return values <= {*_FLAGS, *_UNSURE} and not values.isdisjoint(_FLAGS)

    @property
    def unsure(self) -> int:
        """Number of cells that are empty or -1, in a 0/1 column."""
        return int(self.cells.fill_null("").str.strip_chars().is_in(_UNSURE).sum())


@final
@dataclass(frozen=True)
class Roles:
    """The columns of a table by their role.

    Attributes:
        columns: all, in the order of the table.
        labels: a column, several 0/1 columns, or none.
        delimiter: between the labels in a cell; None where a cell is one label, or a list of them.
        texts: other columns that hold longer text.
    """

    columns: Sequence[Column]
    text: str | None
    labels: str | tuple[str, ...] | None
    delimiter: str | None
    spans: str | None
    id: str | None
    group: str | None
    split: str | None
    dates: tuple[str, ...]
    texts: tuple[str, ...]

    def named(self, name: str) -> Column:
        """Return the column of a name."""
        return next(column for column in self.columns if column.name == name)

    def role(self, column: Column) -> Role:
        """Return what a column is."""
        for role in ("text", "spans", "id", "group", "split"):
            if getattr(self, role) == column.name:
                return role
        if column.name in ((self.labels,) if isinstance(self.labels, str) else self.labels or ()):
            return "labels"
        if column.name in self.dates:
            return "date"
        return "constant" if column.values <= 1 else "other"


def guess_roles(
    frame: pl.DataFrame,
    text: str | None = None,
    labels: str | Sequence[str] | None = None,
    id: str | None = None,
    group: str | None = None,
) -> Roles:
    """Guess the roles of the columns of a table from its first rows; those that are given are not guessed."""
    columns = [Column.of(frame[name]) for name in frame.columns]
    left = {column.name: column for column in columns}
    text = text or _text(list(left.values()))
    spans = next((c.name for c in left.values() if c.name != text and c.share(_SPANS) > 0.9), None)
    given = [labels] if isinstance(labels, str) else list(labels or ())
    for name in (text, spans, id, group, *given):
        left.pop(name or "", None)
    split = next((c.name for c in left.values() if _is_split(c)), None)
    left.pop(split or "", None)
    dates = tuple(c.name for c in left.values() if c.share(_DATE.pattern) > 0.5 and c.words < 4)
    for name in dates:
        left.pop(name)
    group = group or _group(list(left.values()))
    left.pop(group or "", None)
    id = id or _id(list(left.values()))
    left.pop(id or "", None)
    if labels is None and spans is None:
        labels = _labels(list(left.values()))
    flag = isinstance(labels, str) and next(column.is_flag for column in columns if column.name == labels)
    if flag or isinstance(labels, list):
        labels = (labels,) if isinstance(labels, str) else tuple(labels or ())
    own = frame[labels] if isinstance(labels, str) else None
    delimiter = _delimiter(own) if own is not None and own.dtype == pl.String else None
    texts = tuple(c.name for c in left.values() if c.words >= 8 and c.name != labels)
    return Roles(columns, text, labels, delimiter, spans, id, group, split, dates, texts)  # type: ignore[arg-type]


def _text(columns: Sequence[Column]) -> str | None:
    """Return the longest column, of those that are called as texts are the longest, if it is not much shorter."""
    long = sorted((c for c in columns if not c.is_list and c.words >= 3), key=lambda c: -c.words)
    named = [c for c in long if c.named("text") and c.words > long[0].words / 4]
    best = [*named, *long] or [c for c in columns if not c.is_list and c.named("text")]
    return best[0].name if best else None


def _is_split(column: Column) -> bool:
    values = {value.strip().lower() for value in column.cells.drop_nulls().unique()} if not column.is_list else set()
    return bool(values) and values <= SPLIT_NAMES.keys()


def _group(columns: Sequence[Column]) -> str | None:
    """Return the column that is called as patients are; else one that is called as ids are and repeats."""
    short = [c for c in columns if not c.is_list and c.words < 3 and c.values > 1]
    named = [c for c in short if c.named("group")]
    repeated = [c for c in short if c.named("id") and not c.is_flag and c.filled / 10 < c.values < c.filled]
    return next((c.name for c in (*named, *repeated)), None)


def _id(columns: Sequence[Column]) -> str | None:
    """Return the first column with a short value of its own on every row; of several one that is called as ids are."""
    unique = [c for c in columns if not c.is_list and c.filled == c.values == c.cells.len() > 1 and c.words < 3]
    named = [c for c in unique if c.named("id")]
    able = [c for c in unique if not c.named("labels") and not c.is_flag and c.share(_MEASURED) < 0.5]
    return next((c.name for c in (*named, *able)), None)


def _labels(columns: Sequence[Column]) -> str | tuple[str, ...] | None:
    """Return the column of labels, or all 0/1 columns."""
    flags = tuple(c.name for c in columns if c.is_flag and not c.named("id"))
    rows = columns[0].cells.len() if columns else 0
    few = [c for c in columns if c.is_list or (c.filled and _label_count(c) <= min(_MOST_LABELS, max(20, rows // 2)))]
    able = [c for c in few if c.name not in flags and (c.is_list or _short(c))]
    named = [c for c in able if c.named("labels")]
    if named:
        return named[0].name
    if flags:
        return flags
    lists = [c for c in able if c.is_list]
    rest = lists or [c for c in able if c.share(r"^\s*[-+\d.]+\s*$") < 0.5 and c.values > 1]
    return rest[0].name if rest else None


def _label_count(column: Column) -> int:
    delimiter = _delimiter(column.cells)
    return column.values if delimiter is None else _split(column.cells, delimiter).n_unique()


def _short(column: Column) -> bool:
    delimiter = _delimiter(column.cells)
    labels = column.cells.drop_nulls() if delimiter is None else _split(column.cells, delimiter)
    return labels.len() > 0 and bool((labels.str.len_chars() <= LABEL_CHARACTERS).all())


def _split(cells: pl.Series, delimiter: str) -> pl.Series:
    parts = cells.drop_nulls().str.split(delimiter).explode().str.strip_chars()
    return parts.filter(parts.str.len_bytes() > 0)


def _delimiter(cells: pl.Series) -> str | None:
    """Return what separates labels in cells: the one that leaves the fewest different parts, if it leaves fewer."""
    whole = cells.drop_nulls().n_unique()
    found = {delimiter: _split(cells, delimiter).n_unique() for delimiter in _DELIMITERS}
    used = [one for one in _DELIMITERS if bool(cells.str.contains(one, literal=True).fill_null(False).any())]
    fewer = [delimiter for delimiter in used if found[delimiter] < whole]
    return min(fewer, key=lambda one: found[one]) if fewer else None
