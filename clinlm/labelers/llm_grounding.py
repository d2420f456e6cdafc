"""Where the texts that a model names stand in a note: an answer is believed only as far as the note bears it out."""

import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import NamedTuple, final

from clinlm.labelers.llm_answer import Entity
from clinlm.terminology.spans import Span
from clinlm.text.words import words

_ALIKE = str.maketrans({"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "′": "'", "−": "-"})


class Verified(NamedTuple):
    """What an answer says that holds.

    Attributes:
        spans: of the note; they may overlap.
        invented: entities whose text does not stand in the piece of the note that the model saw, or not so often as
            their number says.
        foreign: entities whose label was not asked for.
    """

    spans: set[Span]
    invented: int
    foreign: int


@final
class Places:
    """A note in which texts are looked up.

    A text stands where its characters do, from the beginning of a word to the end of one (words are those of
    `clinlm.text.words`: "pain" does not stand in "painful"). Only where it stands nowhere so, letters of either case,
    white
    space of any length, hyphens and dashes, straight and curly quotes, and compatible forms of a character (ligatures,
    composed and decomposed accents) count as alike, and format characters (soft hyphens, joiners) as absent. Places do
    not overlap; they are counted from the left. The spans found are those of the note, not of the answer.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def verify(self, entities: Iterable[Entity], labels: Sequence[str], start: int, end: int) -> Verified:
        """Return what holds of an answer to the characters `start` to `end` of the note.

        An entity marks all places of its text, or the one that it numbers.

        Args:
            entities: of the answer.
            labels: that were asked for; case does not matter.
            start, end: of the piece of the note that was sent.
        """
        names = {label.casefold(): label for label in labels}
        verified = Verified(set(), 0, 0)
        for text, label, occurrence in entities:
            name = names.get(label.strip().casefold())
            if name is None:
                verified = verified._replace(foreign=verified.foreign + 1)
                continue
            places = self.of(text, start, end)
            if occurrence is not None:
                places = places[occurrence - 1 : occurrence]
            if not places:
                verified = verified._replace(invented=verified.invented + 1)
            verified.spans.update(Span(*place, name) for place in places)
        return verified

    def of(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """Return start and end of every place between two characters of the note; none for a text of white space."""
        return self._exact(text.strip(), start, end) or self._alike(_folded(text)[0].strip(), start, end)

    def _exact(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        place = self._text.find(text, start, end) if text else -1
        while place >= 0:
            whole = self._whole(place, place + len(text))
            found += whole
            place = self._text.find(text, whole[0][1] if whole else place + 1, end)
        return found

    def _alike(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        note, origin = self._note
        found: list[tuple[int, int]] = []
        low, high = bisect_left(origin, start), bisect_left(origin, end)
        place = note.find(text, low, high) if text else -1
        while place >= 0:
            stop = place + len(text)
            begins = place == 0 or origin[place - 1] != origin[place]
            ends = stop == len(note) or origin[stop - 1] != origin[stop]
            whole = self._whole(origin[place], origin[stop - 1] + 1) if begins and ends else []
            found += whole
            place = note.find(text, stop if whole else place + 1, high)
        return found

    def _whole(self, start: int, end: int) -> list[tuple[int, int]]:
        """The place, with format characters behind it, if it begins and ends where words do."""
        starts, ends = self._edges
        while end not in ends and end < len(self._text) and unicodedata.category(self._text[end]) == "Cf":
            end += 1
        return [(start, end)] if start in starts and end in ends else []

    @cached_property
    def _edges(self) -> tuple[frozenset[int], frozenset[int]]:
        found = words(self._text)
        return frozenset(found[:, 0].tolist()), frozenset(found[:, 1].tolist())

    @cached_property
    def _note(self) -> tuple[str, list[int]]:
        return _folded(self._text)


def _folded(text: str) -> tuple[str, list[int]]:
    """The text in the form in which what is alike is equal, and for each of its characters which one it came from."""
    folded: list[str] = []
    origin: list[int] = []
    for place, character in enumerate(text):
        for one in _fold(character):
            if one != " " or not folded or folded[-1] != " ":
                folded.append(one)
                origin.append(place)
    return "".join(folded), origin


@cache
def _fold(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Pd":
        return "-"
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character.translate(_ALIKE)).casefold())
