"""What `clinlm check` says of a corpus: sizes, labels, groups, lengths, repeats, and what is odd. No text of a note."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from clinlm.corpora.base import Records
from clinlm.corpora.column_roles import Column, Roles
from clinlm.corpora.label_cells import LABEL_CHARACTERS
from clinlm.corpora.repeats import Repeats
from clinlm.text.words import words

TOKENS_PER_WORD: Final = 1.2
"""Of BERT's uncased vocabulary, by `clinlm.text.words`: 1.20 on MTSamples (500 notes), 1.15 on `docs/notes.csv`."""

_SAMPLE: Final = 2_000
_NEAR: Final = 5_000
"""Most notes among which near-duplicates are looked for: more would take longer than a look should."""

_SHOWN: Final = 8
_FEW: Final = 10
_ODD_TEXT: Final = {
    "have control characters": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
    "have HTML": r"(?i)</?(?:p|br|div|span|b|i|td|tr|table|html|body)\b[^>\n]{0,80}>|&(?:nbsp|amp|lt|gt|quot|#\d+);",
    "have characters of a wrong encoding": r"\x{fffd}|Ã[\x80-\xbf©¤¶¼]|â€",
}


class Observation(NamedTuple):
    """A line of what is said: what it is about, and the facts."""

    about: str
    facts: str


def corpus_observations(records: Records, max_tokens: int, whole: bool, mergeable: bool) -> Iterator[Observation]:
    """Yield what is to be said of the records of a corpus.

    Args:
        max_tokens: of a row of the models.
        whole: whether notes are read to their end in several rows, and not cut after one.
        mergeable: whether the corpus has the setting `near_duplicates`.
    """
    frame = records.frame
    yield Observation("notes", "; ".join([f"{frame.height:,}", *records.notices]))
    yield _labels(frame)
    if records.splits is not None:
        counts = Counter(records.splits[group] for group in frame["group"])
        yield Observation("splits", ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    sizes = list(Counter(frame["group"].to_list()).values())
    if len(sizes) == frame.height:
        yield Observation(
            "groups", "none: every note is its own; patients with several notes would stand on both sides"
        )
    else:
        yield Observation(
            "groups", f"{len(sizes):,}, of {min(sizes):,} to {max(sizes):,} notes, each kept in one split"
        )
    yield _lengths(frame["text"], max_tokens, whole)
    yield from _repeats(frame, mergeable, records.splits is not None)
    yield from (
        Observation("odd", told) for told in [*_odd_texts(frame["text"]), *_odd_labels(frame), *_few_groups(sizes)]
    )


def column_observations(roles: Roles, rows: int) -> Iterator[Observation]:
    """Yield one line per column of a table, and what is odd about columns."""
    for column in roles.columns:
        yield Observation(shown_name(column.name), f"{roles.role(column):<8} {_facts(column, rows)}")
    told = [f"{shown_name(c.name)} holds one value" for c in roles.columns if c.filled and c.values == 1]
    told += [f"{shown_name(c.name)} is empty" for c in roles.columns if not c.filled]
    told += [
        f"{shown_name(c.name)}: {shapes}" for c in roles.columns if c.name in roles.dates and (shapes := _shapes(c))
    ]
    told += [
        f"{shown_name(c.name)} is the id, but holds text" for c in roles.columns if c.name == roles.id and c.words > 3
    ]
    others = ", ".join(map(shown_name, roles.texts))
    told += [f"text that is not read: {others} (task.corpus.text=[A,B] joins columns)"] if roles.texts else []
    beside = [column.name for column in roles.columns if roles.role(column) == "other" and column.is_flag]
    told += [f"0/1 columns beside the labels: {', '.join(map(shown_name, beside))} (labels=COLUMN)"] if beside else []
    flags = () if isinstance(roles.labels, str) else roles.labels or ()
    if unsure := sum(roles.named(name).unsure for name in flags):
        told.append(f"{unsure:,} cells of 0/1 columns are empty or -1: read as 0 by uncertain=negative; or drop")
    yield from (Observation("odd", each) for each in told)


def shown_name(name: str) -> str:
    """Return the name of a column or label; a long one, which may be part of a note, as its length."""
    return name if len(name) <= LABEL_CHARACTERS and name.isprintable() else f"<{len(name):,} characters>"


def _facts(column: Column, rows: int) -> str:
    filled = "" if column.filled == rows else f", {rows - column.filled:,} empty"
    if column.is_list:
        return f"lists{filled}"
    words = f", {column.words:,.0f} words each" if column.words >= 2 else ""
    return f"{column.values:,} values{words}{filled}"


def _labels(frame: pl.DataFrame) -> Observation:
    what = "spans" if "spans" in frame.columns else "labels"
    each = frame[what].explode().drop_nulls()
    names = each.struct.field("label") if what == "spans" else each
    counts = sorted(Counter(names.to_list()).items(), key=lambda pair: (-pair[1], pair[0]))
    if not counts:
        return Observation(what, "none")
    some = ", ".join(f"{shown_name(name)} {count:,}" for name, count in counts[:_SHOWN])
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    lacking = int((frame[what].list.len() == 0).sum())
    mean = f"{each.len() / frame.height:.1f} a note, {lacking:,} notes have none"
    return Observation(what, f"{len(counts):,}: {some}{more}; {mean}")


def _lengths(texts: pl.Series, max_tokens: int, whole: bool) -> Observation:
    some = texts.sample(min(_SAMPLE, texts.len()), seed=0)
    lengths = np.array([len(words(text)) for text in some])
    tokens = lengths * TOKENS_PER_WORD + 2
    cut, longer = (float((tokens > limit).mean()) for limit in (max_tokens, 512))
    told = (
        f"{np.median(lengths):,.0f} words in the median, {lengths.max():,} at most; about {np.median(tokens):,.0f} and "
        f"{tokens.max():,.0f} tokens; {cut:.0%} are longer than task.max_tokens={max_tokens} and "
        f"{'read in several rows' if whole else 'cut there'}"
    )
    remedy = f"; task.max_tokens=512 cuts {longer:.0%}, long_notes=windows reads on" * (cut > 0.05 and not whole)
    return Observation("lengths", told + remedy)


def _repeats(frame: pl.DataFrame, mergeable: bool, fixed: bool) -> Iterator[Observation]:
    found = Repeats.find(frame["text"].to_list(), frame.height <= _NEAR)
    repeated = frame.height - len(np.unique(found.equal))
    groups = frame["group"].to_list()
    across = int(found.across(found.equal, groups).sum())
    told = [f"{repeated:,} notes repeat the text of another"] if repeated else []
    what = "in the splits of the file" if fixed else "kept in one split"
    told += [f"{across:,} notes have their text in another group, too ({what})"] if across else []
    if found.near is not None and (near := int(found.across(found.near, groups).sum()) - across) > 0:
        merge = " (task.corpus.near_duplicates=merge keeps them together)" if mergeable and not fixed else ""
        told.append(f"{near:,} nearly repeat one of another group{merge}")
    if told:
        yield Observation("repeats", "; ".join(told))
    most = int(np.bincount(found.equal).max())
    if most > max(2, frame.height / 5):
        yield Observation("odd", f"{most:,} of {frame.height:,} notes have the same text")


def _odd_texts(texts: pl.Series) -> Iterator[str]:
    for what, pattern in _ODD_TEXT.items():
        if count := int(texts.str.contains(pattern).sum()):
            yield f"{count:,} notes {what}"
    if short := int((texts.str.count_matches(r"\S+") < 3).sum()):
        yield f"{short:,} notes have fewer than 3 words"


def _odd_labels(frame: pl.DataFrame) -> Iterator[str]:
    counts = Counter(frame["labels"].explode().drop_nulls().to_list())
    several = Counter(label.strip().lower() for label in counts)
    if same := sum(count > 1 for count in several.values()):
        yield f"{same:,} labels are spelt in several ways (upper and lower case)"
    if decimals := sum(bool(re.fullmatch(r"\d+\.0", label)) for label in counts):
        yield f"{decimals:,} labels end in .0: codes saved as numbers"
    if "spans" in frame.columns:
        return
    if rare := sum(count < _FEW for count in counts.values()):
        yield f"{rare:,} of {len(counts):,} labels are on fewer than {_FEW} notes: too few to learn or to measure"
    if whole := [label for label, count in counts.items() if count == frame.height]:
        yield f"every note has the label {shown_name(whole[0])}: nothing tells it apart"


def _few_groups(sizes: Sequence[int]) -> Iterator[str]:
    if len(sizes) < 3:
        yield f"training, validation and test need a group each, got {len(sizes)}"


def _shapes(column: Column) -> str:
    """Return the shapes of dates if they are mixed, digits as 9 and letters as a; "" if all are alike."""
    shapes = column.cells.drop_nulls().str.replace_all(r"\d+", "9").str.replace_all(r"[A-Za-z]+", "a")
    counts: Sequence[tuple[str, int]] = shapes.value_counts(sort=True).rows()
    known = [shape for shape, _ in counts if len(shape) <= 24]
    return f": dates are written in {len(counts)} ways ({'; '.join(known[:3])})" if len(counts) > 1 else ""
