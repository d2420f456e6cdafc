"""Stand-off annotations: checks their offsets against their words."""

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
    """An annotation as in its file.

    Attributes:
        name: its name in the file.
        label: its label in the file.
        fragments: its offsets in the file's unit, at least one, in its order.
        words: its words in the file; None if there are none.
    """

    name: str
    label: str
    fragments: tuple[Fragment, ...]
    words: str | None = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """The located annotations of one document.

    Attributes:
        text: of the document, without byte order mark; line ends as in the file, or of one character.
        fragments: of `text`, per annotation, ascending and not adjacent; None for one without its words at its offsets,
            or outside the text.
        unit: unit of the file's offsets; "" for characters of the text.
    """

    text: str = field(repr=False)
    fragments: list[tuple[Fragment, ...] | None]
    unit: str


def locate(raw: str, annotations: Sequence[Annotation]) -> Placed:
    """Detect the unit of a file's offsets, and locate its annotations.

    Offsets should be characters of the text. Files copied between systems, and tools in other languages, count
    differently; so of four units the one that fits most annotations is taken, of equally good ones the first:
    characters; characters with line ends of one, not two; characters with the byte order mark as one; units of UTF-16.
    Fragments with only white space between them are merged: brat splits annotations at line ends.

    Args:
        raw: the file of the text.
        annotations: of one document; their words are compared with runs of white space as one space.
    """
    best: Placed | None = None
    for unit, text, position in _units(raw):
        found = [_covered(text, position, annotation) for annotation in annotations]
        if best is None or found.count(None) < best.fragments.count(None):
            best = Placed(text, found, unit)
        if None not in found:
            break
    assert best is not None
    return best


def standoff_notices(documents: Sequence[tuple[str, Sequence[Annotation], Placed]]) -> list[str]:
    """Return the notices on the name, the annotations and the located annotations of every document."""
    every = [
        (name, annotation, found)
        for name, annotations, placed in documents
        for annotation, found in zip(annotations, placed.fragments, strict=True)
    ]
    units = Counter(placed.unit for _, _, placed in documents if placed.unit)
    wrong = [f"{name} {annotation.name}" for name, annotation, found in every if found is None]
    unchecked = sum(annotation.words is None for _, annotation, _ in every)
    counts = [
        *((count, f"of {len(documents):,} documents have offsets by {unit}") for unit, count in sorted(units.items())),
        (unchecked, f"of {len(every):,} entities have no words to check their offsets by"),
        (
            len(wrong),
            f"of {len(every):,} entities dropped: not the words at their offsets (first: {shown(wrong[:_SHOWN])})",
        ),
    ]
    return count_notices(counts)


def _units(raw: str) -> Iterator[tuple[str, str, Sequence[int]]]:
    """Yield every unit: its name, the text, and the character of the text for every possible offset."""
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


def _covered(text: str, position: Sequence[int], annotation: Annotation) -> tuple[Fragment, ...] | None:
    if not all(0 <= start < end < len(position) for start, end in annotation.fragments):
        return None
    fragments = [(position[start], position[end]) for start, end in annotation.fragments]
    if not all(start < end for start, end in fragments):
        return None
    words = " ".join(text[start:end] for start, end in fragments).split()
    if annotation.words is not None and words != annotation.words.split():
        return None
    return tuple(_merge_adjacent(text, sorted(fragments)))


def _merge_adjacent(text: str, fragments: Iterable[Fragment]) -> list[Fragment]:
    """Merge fragments that touch, or have only white space between them."""
    kept: list[Fragment] = []
    for start, end in fragments:
        if kept and not text[kept[-1][1] : start].strip():
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept
