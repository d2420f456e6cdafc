"""Locates model output in the note; rejects what is not there."""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import NamedTuple, final

from clinlm.labelers.llm_prompt import Entity
from clinlm.terminology.spans import Span
from clinlm.text.words import words

_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "′": "'", "−": "-"})


class Grounded(NamedTuple):
    """Verified part of an answer.

    Attributes:
        spans: of the note; they may overlap.
        invented: number of entities whose text does not occur in the piece of the note that the model saw, or not as
            often as their number says.
        foreign: number of entities with an unknown label.
    """

    spans: set[Span]
    invented: int
    foreign: int


@final
class Grounding:
    """Finds texts in a note.

    A text occurs where its characters do, from the start of a word to the end of one (words are those of
    `clinlm.text.words`: "pain" does not occur in "painful"). Only where there is no such exact occurrence, differences
    in case, length of white space, hyphens and dashes, straight and curly quotes and compatible forms of a character
    (ligatures, composed and decomposed accents) are ignored, and so are format characters (soft hyphens, joiners).
    Occurrences do not overlap; they are counted from the left. Spans are those of the note, not of the answer.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def verify(self, entities: Iterable[Entity], labels: Sequence[str], start: int, end: int) -> Grounded:
        """Return the verified part of an answer about the characters `start` to `end` of the note.

        An entity marks all occurrences of its text, or the one that it numbers.

        Args:
            labels: known ones; case does not matter.
            start, end: of the piece of the note that was sent.
        """
        names = {label.casefold(): label for label in labels}
        grounded = Grounded(set(), 0, 0)
        for text, label, occurrence in entities:
            name = names.get(label.strip().casefold())
            if name is None:
                grounded = grounded._replace(foreign=grounded.foreign + 1)
                continue
            places = self.find(text, start, end)
            if occurrence is not None:
                places = places[occurrence - 1 : occurrence]
            if not places:
                grounded = grounded._replace(invented=grounded.invented + 1)
            grounded.spans.update(Span(*place, name) for place in places)
        return grounded

    def find(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Return start and end of every occurrence between two offsets; none for a text of white space."""
        return self._find_exact(text.strip(), start, end) or self._find_folded(_fold(text)[0].strip(), start, end)

    def _find_exact(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        place = self._text.find(text, start, end) if text else -1
        while place >= 0:
            whole = self._whole_words(place, place + len(text))
            found += whole
            place = self._text.find(text, whole[0][1] if whole else place + 1, end)
        return found

    def _find_folded(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        note, origin = self._folded
        found: list[tuple[int, int]] = []
        low, high = bisect_left(origin, start), bisect_left(origin, end)
        place = note.find(text, low, high) if text else -1
        while place >= 0:
            stop = place + len(text)
            begins = place == 0 or origin[place - 1] != origin[place]
            ends = stop == len(note) or origin[stop - 1] != origin[stop]
            whole = self._whole_words(origin[place], origin[stop - 1] + 1) if begins and ends else []
            found += whole
            place = note.find(text, stop if whole else place + 1, high)
        return found

    def _whole_words(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the place, with trailing format characters, if it begins and ends where words do."""
        starts, ends = self._word_edges
        while end not in ends and end < len(self._text) and unicodedata.category(self._text[end]) == "Cf":
            end += 1
        return [(start, end)] if start in starts and end in ends else []

    @cached_property
    def _word_edges(self) -> tuple[frozenset[int], frozenset[int]]:
        found = words(self._text)
        return frozenset(found[:, 0].tolist()), frozenset(found[:, 1].tolist())

    @cached_property
    def _folded(self) -> tuple[str, list[int]]:
        return _fold(self._text)


def _fold(text: str) -> tuple[str, list[int]]:
    """Return the text without differences that are ignored, and the original offset of each of its characters."""
    folded: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        for part in _fold_character(character):
            if part != " " or not folded or folded[-1] != " ":
                folded.append(part)
                origin.append(place)
    return "".join(folded), origin


@cache
def _fold_character(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Pd":
        return "-"
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character.translate(_QUOTES)).casefold())
