"""Makes records with spans from the documents of span corpora."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from clinlm.config.errors import DataError
from clinlm.corpora.base import Records, count_notices
from clinlm.corpora.split import SPLITS, merge_groups
from clinlm.files.columns import shown
from clinlm.terminology.spans import Span, check_spans

SPANS = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))
"""The type of the column `spans`."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SpanDocument:
    """A document as in its file.

    Attributes:
        id: unique among the documents of a split.
        group: what must not span two splits.
        text: may be empty; such documents are dropped.
        spans: inside the text, in any order, with the file's own labels.
        split: of `clinlm.corpora.split.SPLITS` for all documents, or None for all.
        attributes: for subgroup reports, the same keys for every document.
    """

    id: str
    group: str
    text: str = field(repr=False)
    spans: Sequence[Span] = field(repr=False)
    split: str | None = None
    attributes: Mapping[str, str | None] = field(default_factory=lambda: {"none": None})


def span_records(
    documents: Sequence[SpanDocument], map: Mapping[str, str] | None, notices: Iterable[str] = ()
) -> Records:
    """Return the records of a corpus of spans: the columns of every corpus, and `spans`.

    - Documents without text are dropped, and so are exact repeats of one with the same id; those without spans stay.
    - Labels are mapped by `map`; spans with another label are dropped. White space at the edges of a span is trimmed, a
      span of white space is dropped, and duplicates are kept once. Spans may overlap and nest.
    - Documents with the same text (in lower case, runs of white space as one space) share a group.
    - If the source defines splits, a group belongs to one of them, test before validation before train, and its
      documents elsewhere are dropped, so that no test document is trained on.

    `spans` is a list of structs `start`, `end` (characters, end exclusive) and `label`, sorted; `labels` are the
    distinct labels of the spans, sorted.

    Args:
        map: label of the file -> label of the records; None keeps all.
        notices: of the reader, put before those of this function.

    Raises:
        DataError: no text or no span is left, or an id is repeated.
        DataError: a span leaves its text.
    """
    distinct = _distinct(documents)
    written = [document for document in distinct if document.text.strip()]
    if not written:
        raise DataError(f"a corpus must have a note, got {len(documents):,} documents without text; check root")
    spans, span_notices = _mapped(written, map)
    groups, shared = _groups(written)
    splits = _splits(written, groups)
    kept = [n for n, document in enumerate(written) if splits is None or splits[groups[n]] == document.split]
    frame = _frame([written[n] for n in kept], [groups[n] for n in kept], [spans[n] for n in kept])
    without_spans = frame.filter(pl.col("spans").list.len() == 0).height
    counts = [
        (len(documents) - len(distinct), f"of {len(documents):,} documents dropped: exact repeats of another"),
        (len(distinct) - len(written), f"of {len(documents):,} documents dropped: empty text"),
        (shared, f"of {len(written):,} documents repeat the text of another and share its group"),
        (len(written) - len(kept), f"of {len(written):,} documents dropped: their group is in a later split, too"),
        (without_spans, f"of {len(kept):,} documents have no span"),
    ]
    return Records(frame, (*notices, *span_notices, *count_notices(counts)), splits)


def _distinct(documents: Sequence[SpanDocument]) -> list[SpanDocument]:
    """Return the documents; of those that are equal, spans in any order, the first."""
    first = {
        (own.id, own.group, own.text, own.split, tuple(sorted(set(own.spans))), tuple(own.attributes.items())): own
        for own in reversed(documents)
    }
    kept = {id(document) for document in first.values()}
    return [document for document in documents if id(document) in kept]


def _frame(documents: Sequence[SpanDocument], groups: Sequence[str], spans: Sequence[Sequence[Span]]) -> pl.DataFrame:
    attributes = pl.Struct(dict.fromkeys(documents[0].attributes, pl.String))
    frame = pl.DataFrame(
        {
            "id": [document.id for document in documents],
            "group": groups,
            "text": [document.text for document in documents],
            "labels": pl.Series([sorted({span.label for span in own}) for own in spans], dtype=pl.List(pl.String)),
            "attributes": pl.Series([dict(document.attributes) for document in documents], dtype=attributes),
            "spans": pl.Series([[span._asdict() for span in own] for own in spans], dtype=SPANS),
        }
    )
    twice = frame.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True).to_list()
    if twice:
        raise DataError(
            f"an id must name one document, {len(twice):,} name several (first: {shown(twice[:_SHOWN])}); rename them"
        )
    return frame


def count_overlapping(spans: Sequence[Span]) -> int:
    """Count the spans that share a character with another. `spans` are sorted."""
    touched: set[int] = set()
    open_ends: list[tuple[int, int]] = []
    for number, span in enumerate(spans):
        open_ends = [(end, other) for end, other in open_ends if end > span.start]
        touched.update(other for _, other in open_ends)
        touched.update([number] if open_ends else [])
        open_ends.append((span.end, number))
    return len(touched)


def _mapped(documents: Sequence[SpanDocument], map: Mapping[str, str] | None) -> tuple[list[list[Span]], list[str]]:
    """Return the spans of every document, mapped, trimmed and sorted, and the notices."""
    given = [check_spans(document.spans, len(document.text)) for document in documents]
    found = Counter(span.label for document in documents for span in document.spans)
    wanted = {label: label for label in found} if map is None else dict(map)
    taken = [[span for span in spans if span.label in wanted] for spans in given]
    trimmed = [
        [_trimmed(document.text, span) for span in spans] for document, spans in zip(documents, taken, strict=True)
    ]
    kept = [
        sorted({span._replace(label=wanted[span.label]) for span in spans if span.start < span.end})
        for spans in trimmed
    ]
    if not any(kept):
        there = f"the labels {shown(sorted(found))}" if found else "no span at all"
        raise DataError(f"a corpus must have a span, none is left; the files have {there}; set map to some of them")
    unwanted = Counter({label: count for label, count in found.items() if label not in wanted})
    absent = sorted(wanted.keys() - found.keys())
    pairs = [pair for both in zip(taken, trimmed, strict=True) for pair in zip(*both, strict=True)]
    blank = sum(new.start == new.end for _, new in pairs)
    total, left = sum(len(document.spans) for document in documents), sum(len(spans) for spans in kept)
    counts = [
        (unwanted.total(), f"of {total:,} spans dropped: labels not in map ({_most(unwanted)})"),
        (len(absent), f"labels of map have no span: {shown(absent)}"),
        (blank, f"of {total:,} spans dropped: white space only"),
        (total - unwanted.total() - blank - left, f"of {total:,} spans dropped: duplicates"),
        (sum(old != new for old, new in pairs) - blank, f"of {total:,} spans trimmed: white space at an edge"),
        (sum(count_overlapping(spans) for spans in kept), f"of {left:,} spans are nested in or overlap another"),
    ]
    return kept, count_notices(counts)


def _trimmed(text: str, span: Span) -> Span:
    """Return the span without white space at its edges; empty if it holds nothing else."""
    words = text[span.start : span.end]
    start = span.start + len(words) - len(words.lstrip())
    return span._replace(start=start, end=max(start, span.start + len(words.rstrip())))


def _most(labels: Counter[str]) -> str:
    """Return the most frequent labels, and the number of others."""
    first = shown([label for label, _ in labels.most_common(_SHOWN)])
    return first + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")


def _groups(documents: Sequence[SpanDocument]) -> tuple[list[str], int]:
    """Return the group of every document, and the number of documents that repeat a text."""
    texts = pl.Series([" ".join(document.text.lower().split()) for document in documents])
    return merge_groups([document.group for document in documents], texts), len(texts) - texts.n_unique()


def _splits(documents: Sequence[SpanDocument], groups: Sequence[str]) -> dict[str, str] | None:
    """Return the split of every group, the last of several; None if the source defines none."""
    if all(document.split is None for document in documents):
        return None
    splits: dict[str, str] = {}
    for document, group in zip(documents, groups, strict=True):
        if document.split not in SPLITS:
            raise DataError(f"every document or none must have a split of {', '.join(SPLITS)}, got {document.split}")
        splits[group] = max(document.split, splits.get(group, SPLITS[0]), key=SPLITS.index)
    return splits
