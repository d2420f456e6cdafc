"""Records with spans, made of what the readers of span corpora find: one set of rules, counted in one place."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from clinlm.corpora.base import Records, count_notices
from clinlm.corpora.split import SPLITS, merge_groups
from clinlm.files.columns import shown
from clinlm.terminology.spans import Span, check_spans

SPANS = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))
"""The type of the column `spans`."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SpanDocument:
    """A document as its file has it.

    Attributes:
        id: unique among the documents of a split.
        group: what must not straddle a split.
        text: may be empty: such documents are dropped.
        spans: inside the text, in any order, with the file's own labels.
        split: of `clinlm.corpora.split.SPLITS`, where the source says so: for all documents, or for none.
        attributes: to carry along, the same keys for every document.
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
    """Make the records of a corpus of spans: the columns of every corpus, and `spans`.

    - Documents without text are dropped. One without spans stays.
    - Labels become what `map` says; spans with another label are dropped. White space at the edges of a span is cut
      off, a span of nothing else is dropped, and one that repeats another is kept once. Spans may overlap and nest.
    - Documents with the same text (in lower case, runs of white space as one space) share a group.
    - Where the source says the splits, a group belongs to one: test counts first, then validation, and its documents
      elsewhere are dropped, so that nothing that tests was trained on.

    `spans` is a list of structs `start`, `end` (characters, end exclusive) and `label`, sorted; `labels` are the
    distinct labels of the spans, sorted.

    Args:
        documents: in the order wanted.
        map: label of the file to label wanted; None keeps every label as it is.
        notices: what the reader counted, to stand before what is counted here.

    Raises:
        ValueError: no text or no span is left, an id stands twice, or a span leaves its text.
    """
    written = [one for one in documents if one.text.strip()]
    if not written:
        raise ValueError(f"a corpus needs a note; none of the {len(documents):,} documents has text; check root")
    spans, span_notices = _mapped(written, map)
    groups, shared = _groups(written)
    splits = _splits(written, groups)
    kept = [n for n, one in enumerate(written) if splits is None or splits[groups[n]] == one.split]
    frame = _frame([written[n] for n in kept], [groups[n] for n in kept], [spans[n] for n in kept])
    silent = frame.filter(pl.col("spans").list.len() == 0).height
    counts = [
        (len(documents) - len(written), f"of {len(documents):,} documents dropped: empty text"),
        (shared, f"of {len(written):,} documents repeat the text of another and share its group"),
        (len(written) - len(kept), f"of {len(written):,} documents dropped: their group stands in a later split too"),
        (silent, f"of {len(kept):,} documents have no span"),
    ]
    told = [*notices, *span_notices, *count_notices(counts)]
    return Records(frame, tuple(told), splits)


def _frame(documents: Sequence[SpanDocument], groups: Sequence[str], spans: Sequence[Sequence[Span]]) -> pl.DataFrame:
    attributes = pl.Struct(dict.fromkeys(documents[0].attributes, pl.String))
    frame = pl.DataFrame(
        {
            "id": [one.id for one in documents],
            "group": groups,
            "text": [one.text for one in documents],
            "labels": pl.Series([sorted({one.label for one in own}) for own in spans], dtype=pl.List(pl.String)),
            "attributes": pl.Series([dict(one.attributes) for one in documents], dtype=attributes),
            "spans": pl.Series([[one._asdict() for one in own] for own in spans], dtype=SPANS),
        }
    )
    twice = frame.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True).to_list()
    if twice:
        raise ValueError(
            f"an id names one document; {len(twice):,} name several (first: {shown(twice[:_SHOWN])}); give each its own"
        )
    return frame


def overlapping(spans: Sequence[Span]) -> int:
    """Count the spans that share a character with another. `spans` are sorted."""
    touched: set[int] = set()
    open_ends: list[tuple[int, int]] = []
    for number, one in enumerate(spans):
        open_ends = [(end, other) for end, other in open_ends if end > one.start]
        touched.update(other for _, other in open_ends)
        touched.update([number] if open_ends else [])
        open_ends.append((one.end, number))
    return len(touched)


def _mapped(documents: Sequence[SpanDocument], map: Mapping[str, str] | None) -> tuple[list[list[Span]], list[str]]:
    """The spans of every document with the labels wanted, trimmed and sorted, and what was counted."""
    given = [check_spans(one.spans, len(one.text)) for one in documents]
    found = Counter(span.label for one in documents for span in one.spans)
    wanted = {label: label for label in found} if map is None else dict(map)
    taken = [[span for span in spans if span.label in wanted] for spans in given]
    trimmed = [[_trimmed(one.text, span) for span in spans] for one, spans in zip(documents, taken, strict=True)]
    kept = [
        sorted({span._replace(label=wanted[span.label]) for span in spans if span.start < span.end})
        for spans in trimmed
    ]
    if not any(kept):
        there = f"the labels {shown(sorted(found))}" if found else "no span at all"
        raise ValueError(f"a corpus of spans needs one; none is left; the files have {there}; set map to some of them")
    unwanted = Counter({label: count for label, count in found.items() if label not in wanted})
    absent = sorted(wanted.keys() - found.keys())
    pairs = [pair for both in zip(taken, trimmed, strict=True) for pair in zip(*both, strict=True)]
    blank = sum(new.start == new.end for _, new in pairs)
    total, left = sum(len(one.spans) for one in documents), sum(len(spans) for spans in kept)
    counts = [
        (unwanted.total(), f"of {total:,} spans dropped: their labels are not in map ({_most(unwanted)})"),
        (len(absent), f"labels of map name no span: {shown(absent)}"),
        (blank, f"of {total:,} spans dropped: nothing but white space"),
        (total - unwanted.total() - blank - left, f"of {total:,} spans dropped: they repeat another"),
        (sum(old != new for old, new in pairs) - blank, f"of {total:,} spans cut: white space at an edge"),
        (sum(overlapping(spans) for spans in kept), f"of {left:,} spans nest in another or overlap it"),
    ]
    return kept, count_notices(counts)


def _trimmed(text: str, span: Span) -> Span:
    """The span without the white space at its edges; empty where it holds nothing else."""
    told = text[span.start : span.end]
    start = span.start + len(told) - len(told.lstrip())
    return span._replace(start=start, end=max(start, span.start + len(told.rstrip())))


def _most(labels: Counter[str]) -> str:
    """The most frequent labels, and how many more there are."""
    first = shown([label for label, _ in labels.most_common(_SHOWN)])
    return first + (f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else "")


def _groups(documents: Sequence[SpanDocument]) -> tuple[list[str], int]:
    """The group of every document, and how many documents repeat a text."""
    texts = pl.Series([" ".join(one.text.lower().split()) for one in documents])
    return merge_groups([one.group for one in documents], texts), len(texts) - texts.n_unique()


def _splits(documents: Sequence[SpanDocument], groups: Sequence[str]) -> dict[str, str] | None:
    """The split of every group: of several, the last; None where the source says none."""
    if all(one.split is None for one in documents):
        return None
    splits: dict[str, str] = {}
    for one, group in zip(documents, groups, strict=True):
        if one.split not in SPLITS:
            raise ValueError(f"either every document has a split or none; one of {', '.join(SPLITS)}; {one.split} came")
        splits[group] = max(one.split, splits.get(group, SPLITS[0]), key=SPLITS.index)
    return splits
