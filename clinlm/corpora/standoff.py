"""Stand-off annotations: places them by the reading of their offsets that fits their words."""

import html
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from clinlm.config.errors import DataError
from clinlm.corpora.base import count_notices
from clinlm.corpora.offsets import Fragment, Reading, readings, shifted
from clinlm.files.columns import shown

_SHOWN = 5
_LETTERS = 3
"""Fewest letters of words that only another reading places: a shorter word may stand there by chance."""

_SURE = 2
"""Fewest offsets that only another reading places where words begin or end: one may be in a word (5mg) on purpose."""

_UNSEPARATED = "\u2e80"
"""First of the scripts without spaces between words: Chinese, Japanese and more."""

_PLAIN = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "′": "'", "–": "-", "−": "-"})


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

    @property
    def empty(self) -> bool:
        """Return whether its offsets hold no character."""
        return all(start == end for start, end in self.fragments)


@final
@dataclass(frozen=True, slots=True)
class Annotated:
    """A text with its annotations.

    Attributes:
        name: for notices.
        text: without the byte order mark of its file.
        joints: places of the characters between its passages.
        marked: whether its file begins with a byte order mark.
    """

    name: str
    text: str = field(repr=False)
    annotations: Sequence[Annotation]
    joints: Sequence[int] = ()
    marked: bool = False


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """The located annotations of one document.

    Attributes:
        text: of the document.
        fragments: of `text`, per annotation, ascending and not adjacent; None for one without its words at its offsets,
            or outside the text.
        unit: what the file's offsets count; "" for characters of the text.
        misses: why an annotation has no place, per annotation; "" where it has one.
        respelled: number of annotations whose words differ from the text in case, accents, quotes, escapes or length.
        inside: number of annotations without words that begin or end inside a word or with white space.
    """

    text: str = field(repr=False)
    fragments: list[tuple[Fragment, ...] | None]
    unit: str
    misses: list[str]
    respelled: int
    inside: int


def locate(documents: Sequence[Annotated]) -> list[Placed]:
    """Find what the offsets of every document count, and locate its annotations.

    Offsets should be characters of the text. Files copied between systems, and tools in other languages, count
    differently; so of the ways to count (`clinlm.corpora.offsets.readings`) the one that fits most annotations is
    taken, of equally good ones the first; or one shift that all annotations of a document share. Words fit that are
    those of the text but for white space, case, forms of a character, quotes, HTML escapes, and an ellipsis at the end.

    Annotations without words say less. A way to count is taken for all documents without words only if every annotation
    that it moves then begins and ends where words do, and if at least two of their offsets do not as characters.

    Fragments with only white space between them are merged: brat splits annotations at line ends.
    """
    placed = [_located(document) for document in documents]
    silent = [
        n
        for n, document in enumerate(documents)
        if document.annotations and all(one.words is None for one in document.annotations)
    ]
    if any(placed[n].inside or None in placed[n].fragments for n in silent):
        for n, found in zip(silent, _relocated([documents[n] for n in silent]), strict=True):
            placed[n] = found or placed[n]
    return placed


def standoff_notices(
    documents: Sequence[Annotated],
    placed: Sequence[Placed],
    worded: bool = True,
    remedy: str = "count offsets in characters of the text",
) -> list[str]:
    """Return the notices on the annotations of every document and where they are.

    Args:
        worded: whether annotations should have words, so that those without are counted.
        remedy: what to do if none has.

    Raises:
        DataError: there are annotations, and none is where its offsets say.
    """
    every = [
        (f"{document.name} {annotation.name}", annotation, miss)
        for document, own in zip(documents, placed, strict=True)
        for annotation, miss in zip(document.annotations, own.misses, strict=True)
    ]
    units = Counter(own.unit for own in placed if own.unit)
    misses = Counter(miss for _, _, miss in every if miss)
    wrong = f"(first: {shown([name for name, _, miss in every if miss][:_SHOWN])}): " + "; ".join(
        f"{count:,} {miss}" for miss, count in misses.most_common()
    )
    if every and misses.total() == len(every):
        raise DataError(
            f"entities must have their words at their offsets, {len(every):,} of {len(every):,} have not {wrong}; "
            f"{remedy}"
        )
    counts = [
        *((count, f"of {len(documents):,} documents have offsets by {unit}") for unit, count in sorted(units.items())),
        (sum(own.respelled for own in placed), f"of {len(every):,} entities have words spelt differently in the text"),
        (
            sum(annotation.words is None for _, annotation, _ in every) if worded else 0,
            f"of {len(every):,} entities have no words to check their offsets by",
        ),
        (sum(own.inside for own in placed), f"of {len(every):,} entities begin or end inside a word: check offsets"),
        (misses.total(), f"of {len(every):,} entities dropped: not the words at their offsets {wrong}"),
    ]
    return count_notices(counts)


def _located(document: Annotated) -> Placed:
    """Locate the annotations of one document by their words; those without words as the others."""
    text = document.text
    worded = [one for one in document.annotations if one.words is not None]
    plain: Placed | None = None
    best: Placed | None = None
    likely: dict[int, str] = {}
    for reading in _candidates(document):
        found = _read(text, document.annotations, reading)
        if plain is None or best is None:
            plain = best = found
        else:
            moved = [n for n, place in enumerate(found.fragments) if place and not plain.fragments[n]]
            likely = {n: f"would be in place by {reading.name}" for n in moved} | likely
            letters = sum(len(document.annotations[n].words or "") for n in moved)
            if letters >= _LETTERS and _missing(found, worded, document) < _missing(best, worded, document):
                best = found
        if not _missing(best, worded, document):
            break
    assert best is not None
    return _explained(best, document.annotations, likely)


def _candidates(document: Annotated) -> Iterator[Reading]:
    yield from readings(document.text, document.marked, document.joints)
    shift = _shared_shift(document.text, document.annotations)
    if shift:
        yield shifted(len(document.text), shift)


def _explained(placed: Placed, annotations: Sequence[Annotation], likely: Mapping[int, str]) -> Placed:
    """Return the same with the reason of every miss."""
    both = enumerate(zip(annotations, placed.fragments, strict=True))
    misses = ["" if place else likely.get(n) or _miss(placed.text, annotation) for n, (annotation, place) in both]
    return replace(placed, misses=misses)


def _missing(placed: Placed, worded: Sequence[Annotation], document: Annotated) -> int:
    """Return how many annotations with words have no place."""
    if len(worded) == len(document.annotations):
        return placed.fragments.count(None)
    both = zip(document.annotations, placed.fragments, strict=True)
    return sum(place is None and annotation.words is not None for annotation, place in both)


def _read(text: str, annotations: Sequence[Annotation], reading: Reading) -> Placed:
    """Locate annotations by one reading."""
    fragments: list[tuple[Fragment, ...] | None] = []
    respelled = inside = 0
    for annotation in annotations:
        placed = [reading.place(fragment) for fragment in annotation.fragments]
        solid = [fragment for fragment in placed if fragment is not None]
        if len(solid) < len(placed):
            fragments.append(None)
            continue
        if reading.name and annotation.words is not None:
            solid = [_trimmed(text, fragment) for fragment in solid]
        words = " ".join(text[start:end] for start, end in solid)
        equal = annotation.words is None or words.split() == annotation.words.split()
        if not equal and not _same(words, annotation.words or ""):
            fragments.append(None)
            continue
        respelled += not equal
        inside += annotation.words is None and not _fits(text, solid)
        fragments.append(tuple(_merge_adjacent(text, sorted(solid))))
    return Placed(text, fragments, reading.name, [""] * len(fragments), respelled, inside)


def _trimmed(text: str, fragment: Fragment) -> Fragment:
    """Return a fragment without white space at its edges, which some readings do not count."""
    start, end = fragment
    words = text[start:end]
    first = start + len(words) - len(words.lstrip())
    return (first, start + len(words.rstrip())) if words.strip() else fragment


def _relocated(documents: Sequence[Annotated]) -> list[Placed | None]:
    """Locate annotations without words by the reading that fits all documents; None where nothing changes."""
    moved: dict[str, dict[int, Placed]] = {}
    gained: Counter[str] = Counter()
    lost: set[str] = set()
    for n, document in enumerate(documents):
        text = document.text
        plain, *others = (_read(text, document.annotations, one) for one in readings(text, document.marked))
        for other in others:
            changed = [k for k, place in enumerate(other.fragments) if place != plain.fragments[k]]
            lost |= set() if all(_fits(text, other.fragments[k]) for k in changed) else {other.unit}
            gained[other.unit] += len({place for k in changed for place in _wrong_edges(text, document.annotations[k])})
            moved.setdefault(other.unit, {})[n] = other
    sure = [unit for unit in moved if unit not in lost and gained[unit] >= _SURE]
    chosen = max(sure, key=gained.__getitem__, default="")
    found = [moved.get(chosen, {}).get(n) for n in range(len(documents))]
    return [own and _explained(own, document.annotations, {}) for own, document in zip(found, documents, strict=True)]


def _fits(text: str, fragments: Sequence[Fragment] | None) -> bool:
    """Return whether fragments begin and end where words do."""
    return fragments is not None and all(all(_on_edges(text, fragment)) for fragment in fragments)


def _wrong_edges(text: str, annotation: Annotation) -> set[int]:
    """Return the offsets that, as characters, are not where words begin or end."""
    both = [(fragment, _on_edges(text, fragment)) for fragment in annotation.fragments]
    return {place for fragment, right in both for place, fits in zip(fragment, right, strict=True) if not fits}


def _on_edges(text: str, fragment: Fragment) -> tuple[bool, bool]:
    """Return whether a fragment begins, and ends, with a character that is no white space, where words do."""
    start, end = fragment
    if not start < end <= len(text):
        return False, False
    begins = not (start and _in_word(text[start - 1 : start + 1])) and not text[start].isspace()
    return begins, not _in_word(text[end - 1 : end + 1]) and not text[end - 1].isspace()


def _in_word(pair: str) -> bool:
    """Return whether two characters belong to one word of a script that separates words."""
    return len(pair) == 2 and all(character.isalnum() and character < _UNSEPARATED for character in pair)


def _shared_shift(text: str, annotations: Sequence[Annotation]) -> int:
    """Return the one shift that puts the words of all annotations in their place; 0 if it is not certain."""
    worded = {(one.fragments[0][0], one.words) for one in annotations if one.words and len(one.fragments) == 1}
    if len(worded) < 2 or sum(len(words) for _, words in worded) < 2 * _LETTERS:
        return 0
    shifts: set[int] | None = None
    for start, words in worded:
        own = {place - start for place in _occurrences(text, words)}
        shifts = own if shifts is None else shifts & own
        if not shifts:
            return 0
    return shifts.pop() if shifts and len(shifts) == 1 else 0


def _occurrences(text: str, words: str) -> Iterator[int]:
    place = text.find(words)
    while place >= 0:
        yield place
        place = text.find(words, place + 1)


def _miss(text: str, annotation: Annotation) -> str:
    """Return why an annotation has no place in any reading."""
    if annotation.empty:
        return "of no character"
    if annotation.words is None:
        return "outside of their text"
    return "with words elsewhere in the text" if _folded(annotation.words) in _folded(text) else "with words not in it"


def _same(words: str, told: str) -> bool:
    """Return whether words of the text are those of the file, in another spelling or cut off by an ellipsis."""
    here, there = _folded(words), _folded(told)
    cut = there.removesuffix("...").rstrip()
    return bool(here) and (here == there or (cut != there and len(cut) >= _LETTERS and here.startswith(cut)))


def _folded(words: str) -> str:
    plain = unicodedata.normalize("NFKC", html.unescape(words)).translate(_PLAIN).casefold()
    return " ".join(plain.split())


def _merge_adjacent(text: str, fragments: Iterable[Fragment]) -> list[Fragment]:
    """Merge fragments that touch, or have only white space between them."""
    kept: list[Fragment] = []
    for start, end in fragments:
        if kept and not text[kept[-1][1] : start].strip():
            kept[-1] = (kept[-1][0], max(end, kept[-1][1]))
        else:
            kept.append((start, end))
    return kept
