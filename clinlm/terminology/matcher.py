"""Finding the terms of large vocabularies in a text: whole words, longest first, however many terms there are."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, final

from clinlm.terminology.base import Term
from clinlm.terminology.spans import Span
from clinlm.terminology.word_forms import WORD, folded, folded_gap, without_possessive

_REMEMBERED = 2**18
"""So many different words are kept with their folded form; then memory is cleared and fills anew."""

_MARKS = frozenset("\"'()[]{}<>.,;:!?*/&-\u2018\u2019\u201c\u201d")
"""What may stand before the first and behind the last word of a term, and is left out of it."""

_ALONE = (1,)
_SPACE = re.compile(r"\s*")
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


class _Exact(NamedTuple):
    """A term that matches only some of the words that fold to the same.

    Attributes:
        label: of the term.
        words: in its own case, where it is an acronym; none where case does not count.
        possessive: it ends in 's.
        wary: no word beside it may be in capitals.
    """

    label: str
    words: tuple[str, ...]
    possessive: bool
    wary: bool


@final
class Matcher:
    """Finds terms from left to right; where several begin at one word the longest counts, and none overlap.

    A text is words and what stands between them (`clinlm.terminology.word_forms`). A term matches words that fold to
    the same, with
    the same between them. Marks before its first and behind its last word are left out; a term with another sign there
    ("Na+") is not used, as it would match less than it says. A term that ends in 's matches only what does so too.

    A term of at most `acronym` letters, all of them capitals, is an acronym: it matches the same letters in the same
    case only, or these and an s, and goes before a term that is the same but for case. A stop term is not used: one
    that is an acronym itself stops that acronym, any other stops all but acronyms. Of an acronym that another stops
    (all, ALL) neither the word before nor the word behind may be in capitals, as case tells nothing in a heading.

    A span takes in the bracket right outside it whose other half is inside: the first one of (S)-ketamine.

    Terms are keys of a dictionary (their folded words and what is between them), and a second one tells for the first
    two words how many words the terms that begin so have. So a word of the text costs one to three look-ups.

    Args:
        terms: where two are the same but for their labels, the first counts.
        stop: terms that are not used.
        acronym: letters; 0 for no acronyms, so that no term has its own case.
        shortest: letters and digits; shorter terms are not used, unless they are acronyms of at least two.

    Raises:
        ValueError: `acronym` is negative, or `shortest` below 1.
    """

    def __init__(self, terms: Iterable[Term], stop: Iterable[str] = (), acronym: int = 5, shortest: int = 3) -> None:
        if acronym < 0 or shortest < 1:
            raise ValueError(
                f"an acronym has 0 letters or more, the shortest term 1; {acronym} and {shortest} came; set 5 and 3"
            )
        self._acronym, self._shortest = acronym, shortest
        self._words, self._gaps = _Folded(folded), _Folded(folded_gap)
        self._stopped = {self._stop(one) for one in stop}
        self._plain: dict[str, str] = {}
        self._exact: dict[str, tuple[_Exact, ...]] = {}
        self._first: set[str] = set()
        self._counts: dict[str, tuple[int, ...]] = {}
        same: dict[tuple[int, ...], tuple[int, ...]] = {}
        for term in terms:
            self._add(term, same)

    def __len__(self) -> int:
        """Return how many terms are used; those that fold to the same are one."""
        return len(self._plain.keys() | self._exact.keys())

    def spans(self, text: str) -> list[Span]:
        """Return where terms stand in `text`, in characters of it as it is, in order."""
        pieces = WORD.split(text)
        read = self._read(pieces)
        words, first, found, place = len(pieces) // 2, self._first, list[Span](), 0
        edges = list(accumulate(map(len, pieces)))  # word i is from edges[2 i] to edges[2 i + 1]
        for word in [word for word, key in enumerate(read[::2]) if key in first]:
            if word < place:
                continue
            for count in self._counts.get("".join(read[2 * word : 2 * word + 3]), _ALONE):
                key = "".join(read[2 * word : 2 * (word + count) - 1]) if word + count <= words else ""
                exact = self._holding(pieces, key, word, count) if key in self._exact else None
                label = exact.label if exact else self._plain.get(key)
                if label is not None:
                    place = word + count
                    start, end = edges[2 * word], edges[2 * place - 1]
                    if not (exact and exact.possessive):
                        end -= len(pieces[2 * place - 1]) - len(without_possessive(pieces[2 * place - 1]))
                    if count > 1:
                        start, end = _bracketed(text, start, end, edges[2 * word - 1] if word else 0)
                    found.append(Span(start, end, label))
                    break
        return found

    def _holding(self, pieces: Sequence[str], key: str, word: int, count: int) -> _Exact | None:
        """Return the first term of a key that matches `count` words from `word` on as they are written."""
        written = pieces[2 * word + 1 : 2 * (word + count) : 2]
        bare = tuple(map(without_possessive, written))
        before, behind = max(0, 2 * word - 1), 2 * (word + count) + 1
        beside = [*pieces[before : 2 * word : 2], *pieces[behind : behind + 1]]
        loud = any(len(one) > 1 and one.isupper() for one in beside)
        for one in self._exact[key]:
            same = not one.words or one.words in (bare, (*bare[:-1], bare[-1].removesuffix("s")))
            if same and not (one.possessive and bare[-1] == written[-1]) and not (one.wary and loud):
                return one
        return None

    def _read(self, pieces: Sequence[str]) -> list[str]:
        """Return the words and what is between them, folded; `pieces` are gap, word, gap, ..., word, gap."""
        read = [""] * (len(pieces) - 2)
        read[::2] = map(self._words.__getitem__, pieces[1::2])
        read[1::2] = map(self._gaps.__getitem__, pieces[2:-1:2])
        return read

    def _add(self, term: Term, same: dict[tuple[int, ...], tuple[int, ...]]) -> None:
        pieces = WORD.split(term.text)
        written, around = pieces[1::2], pieces[0] + pieces[-1]
        if not written or (around and not _MARKS.issuperset("".join(around.split()))):
            return
        read = self._read(pieces)
        key, last = "".join(read), written[-1]
        possessive = without_possessive(last) != last
        form = tuple(map(without_possessive, written)) if self._is_acronym(written) else ()
        if sum(map(len, written)) < (2 if form else self._shortest) or (form or key) in self._stopped:
            return
        if form or possessive:
            exact = _Exact(term.label, form, possessive, key in self._stopped)
            known = self._exact.get(key, ())
            if all(one[1:] != exact[1:] for one in known):
                self._exact[key] = tuple(sorted((*known, exact), key=lambda one: not one.possessive))
        else:
            self._plain.setdefault(key, term.label)
        self._first.add(read[0])
        if len(written) > 1:
            pair = "".join(read[:3])
            counts = self._counts.get(pair, _ALONE)
            if len(written) not in counts:
                more = tuple(sorted({*counts, len(written)}, reverse=True))
                self._counts[pair] = same.setdefault(more, more)

    def _stop(self, term: str) -> str | tuple[str, ...]:
        """Return the words of an acronym as they are, the key of any other term."""
        pieces = WORD.split(term)
        return tuple(pieces[1::2]) if self._is_acronym(pieces[1::2]) else "".join(self._read(pieces))

    def _is_acronym(self, words: Sequence[str]) -> bool:
        written = "".join(words) if words[0].upper() == words[0] else ""
        return written.isupper() and sum(map(str.isalpha, written)) <= self._acronym


@final
class _Folded(dict[str, str]):
    """The folded form of everything that was asked for, made when it is first asked for."""

    def __init__(self, fold: Callable[[str], str]) -> None:
        self._fold = fold

    def __missing__(self, written: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[written] = made = self._fold(written)
        return made


def _bracketed(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    """Return the edges, moved out over a bracket next to them whose other half is inside; `least` is the first edge."""
    for opening, closing in _BRACKETS:
        depth = text.count(opening, start, end) - text.count(closing, start, end)
        before = text[least:start].rstrip() if depth < 0 else ""
        behind = _SPACE.match(text, end) if depth > 0 else None
        if before.endswith(opening):
            start = least + len(before) - 1
        if behind and text.startswith(closing, behind.end()):
            end = behind.end() + 1
    return start, end
