"""Annotations that stand beside a text: their offsets checked against the words they are said to cover."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

from clinlm.corpora.base import count_notices
from clinlm.files.columns import shown

Fragment = tuple[int, int]
"""First character, and the one after the last."""

_SHOWN = 5


@final
@dataclass(frozen=True, slots=True)
class Annotation:
    """An annotation as its file tells it.

    Attributes:
        name: how the file calls it.
        label: the file's.
        fragments: of the offsets that the file counts, at least one, in its order.
        words: what stands there, as the file says; None where it does not.
    """

    name: str
    label: str
    fragments: tuple[Fragment, ...]
    words: str | None = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """What the annotations of one document cover.

    Attributes:
        text: the document's, without byte order mark; its line ends as they are, or of one character.
        fragments: of `text`, per annotation, ascending, with something between them; None for an annotation that does
            not hold the words it should, or leaves the text.
        counted: how the file counts, where that is not characters of the text as it is; "" where it is.
    """

    text: str = field(repr=False)
    fragments: list[tuple[Fragment, ...] | None]
    counted: str


def locate(raw: str, annotations: Sequence[Annotation]) -> Placed:
    """Find how a file counts its offsets, and what its annotations cover.

    They should be characters of the text. Files that were copied between systems, and tools written in other languages,
    count otherwise; so of four ways the one is taken that agrees with most of the annotations, of equally good ones the
    first: characters; characters
    where line ends have one, not two; with the byte order mark as one; units of UTF-16. Fragments between
    which there is only white space are one: brat parts annotations at line ends.

    Args:
        raw: the file of the text.
        annotations: of one document; what they cover is compared with runs of white space as one space.
    """
    best: Placed | None = None
    for counted, text, position in _readings(raw):
        found = [_covered(text, position, one) for one in annotations]
        if best is None or found.count(None) < best.fragments.count(None):
            best = Placed(text, found, counted)
        if None not in found:
            break
    assert best is not None
    return best


def standoff_notices(documents: Sequence[tuple[str, Sequence[Annotation], Placed]]) -> list[str]:
    """What is to be told of the name, the annotations and the placed ones of every document."""
    every = [
        (name, one, found)
        for name, told, placed in documents
        for one, found in zip(told, placed.fragments, strict=True)
    ]
    ways = Counter(placed.counted for _, _, placed in documents if placed.counted)
    wrong = [f"{name} {one.name}" for name, one, found in every if found is None]
    unchecked = sum(one.words is None for _, one, _ in every)
    counts = [
        *((count, f"of {len(documents):,} documents have offsets by {way}") for way, count in sorted(ways.items())),
        (unchecked, f"of {len(every):,} entities have no words to check their offsets by"),
        (
            len(wrong),
            f"of {len(every):,} entities dropped: not the words at their offsets (first: {shown(wrong[:_SHOWN])})",
        ),
    ]
    return count_notices(counts)


def _readings(raw: str) -> Iterator[tuple[str, str, Sequence[int]]]:
    """Ways to count: what to call it, the text, and the character of the text for every offset there can be."""
    text = raw.removeprefix("\ufeff")
    yield "", text, range(len(text) + 1)
    if "\r\n" in text:
        plain = text.replace("\r\n", "\n")
        yield "line ends of one character", plain, range(len(plain) + 1)
    if text != raw:
        yield "a text with the byte order mark", text, [0, *range(len(text) + 1)]
    if len(text.encode("utf-16-le")) > 2 * len(text):
        units = [number for number, character in enumerate(text) for _ in range(1 + (ord(character) > 0xFFFF))]
        yield "units of UTF-16", text, [*units, len(text)]


def _covered(text: str, position: Sequence[int], one: Annotation) -> tuple[Fragment, ...] | None:
    if not all(0 <= start < end < len(position) for start, end in one.fragments):
        return None
    fragments = [(position[start], position[end]) for start, end in one.fragments]
    if not all(start < end for start, end in fragments):
        return None
    if one.words is not None and " ".join(text[start:end] for start, end in fragments).split() != one.words.split():
        return None
    return tuple(_joined(text, sorted(fragments)))


def _joined(text: str, fragments: Iterable[Fragment]) -> list[Fragment]:
    """Fragments of which those that touch, or have only white space between them, are one."""
    kept: list[Fragment] = []
    for start, end in fragments:
        if kept and not text[kept[-1][1] : start].strip():
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept
