"""Finds the terms of large ontologies in a text: whole words, longest first, in time independent of their number."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, final

from clinlm.config.errors import ConfigError
from clinlm.terminology.base import Term
from clinlm.terminology.spans import Span
from clinlm.terminology.word_forms import WORD, fold_gap, fold_word, strip_possessive

_REMEMBERED = 2**18
"""Size of the cache of folded words; it is cleared when full."""

_MARKS = frozenset("\"'()[]{}<>.,;:!?*/&-\u2018\u2019\u201c\u201d")
"""Marks that are allowed before the first and after the last word of a term, and are left out of it."""

_ALONE = (1,)
_SPACE = re.compile(r"\s*")
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))


class _Exact(NamedTuple):
    """A term that matches only some of the words with its folded form.

    Attributes:
        words: in their own case, for an acronym; empty where case is ignored.
        possessive: whether it ends in 's.
        wary: whether no neighbouring word may be in capitals.
    """

    label: str
    words: tuple[str, ...]
    possessive: bool
    wary: bool


@final
class Matcher:
    """Finds terms from left to right; of several that begin at one word the longest counts, and none overlap.

    A text is split into words and the gaps between them. A term matches words and gaps with the same folded forms
    (`clinlm.terminology.word_forms`). Marks before its first and after its last word are left out; a term with another
    sign there ("Na+") is not used, as its match would be too short. A term that ends in 's matches only words that do.

    A term of at most `acronym` letters, all capitals, is an acronym: it matches only the same letters in the same case,
    with or without a final s, and precedes a term that differs only in case. Stop terms are not used: a stop term that
    is an acronym stops that acronym, any other stops all but acronyms. If another stop term has the same folded form
    as an acronym (all, ALL), neither neighbouring word may be in capitals, since case means nothing in a heading.

    A span is extended by an adjacent bracket whose other half is inside: the first one of (S)-ketamine.

    Terms are keys of a dictionary; a second dictionary maps two words to the word counts of the terms that begin with
    them. So a word of the text costs one to three look-ups.

    Args:
        terms: of two that differ only in their labels, the first counts.
        acronym: most letters of an acronym; 0 for no acronyms.
        shortest: fewest letters and digits of a term; acronyms need two.

    Raises:
        ConfigError: `acronym` is negative, or `shortest` below 1.
    """

    def __init__(self, terms: Iterable[Term], stop: Iterable[str] = (), acronym: int = 5, shortest: int = 3) -> None:
        if acronym < 0 or shortest < 1:
            raise ConfigError(
                f"acronym must be >= 0 and shortest >= 1, got acronym={acronym}, shortest={shortest}; set 5 and 3"
            )
        self._acronym, self._shortest = acronym, shortest
        self._words, self._gaps = _Cache(fold_word), _Cache(fold_gap)
        self._stopped = {self._stop_key(term) for term in stop}
        self._plain: dict[str, str] = {}
        self._exact: dict[str, tuple[_Exact, ...]] = {}
        self._first: set[str] = set()
        self._counts: dict[str, tuple[int, ...]] = {}
        same: dict[tuple[int, ...], tuple[int, ...]] = {}
        for term in terms:
            self._add(term, same)

    def __len__(self) -> int:
        """Return the number of terms in use; those with one folded form count once."""
        return len(self._plain.keys() | self._exact.keys())

    def spans(self, text: str) -> list[Span]:
        """Return the terms found in `text`, in order."""
        pieces = WORD.split(text)
        folded = self._fold(pieces)
        words, first, found, place = len(pieces) // 2, self._first, list[Span](), 0
        edges = list(accumulate(map(len, pieces)))  # word i is from edges[2 i] to edges[2 i + 1]
        for word in [word for word, key in enumerate(folded[::2]) if key in first]:
            if word < place:
                continue
            for count in self._counts.get("".join(folded[2 * word : 2 * word + 3]), _ALONE):
                key = "".join(folded[2 * word : 2 * (word + count) - 1]) if word + count <= words else ""
                exact = self._exact_match(pieces, key, word, count) if key in self._exact else None
                label = exact.label if exact else self._plain.get(key)
                if label is not None:
                    place = word + count
                    start, end = edges[2 * word], edges[2 * place - 1]
                    if not (exact and exact.possessive):
                        end -= len(pieces[2 * place - 1]) - len(strip_possessive(pieces[2 * place - 1]))
                    if count > 1:
                        start, end = _with_brackets(text, start, end, edges[2 * word - 1] if word else 0)
                    found.append(Span(start, end, label))
                    break
        return found

    def _exact_match(self, pieces: Sequence[str], key: str, word: int, count: int) -> _Exact | None:
        """Return the first term of a key that matches `count` words from `word` on in their own case."""
        written = pieces[2 * word + 1 : 2 * (word + count) : 2]
        bare = tuple(map(strip_possessive, written))
        before, after = max(0, 2 * word - 1), 2 * (word + count) + 1
        neighbours = [*pieces[before : 2 * word : 2], *pieces[after : after + 1]]
        capitals = any(len(neighbour) > 1 and neighbour.isupper() for neighbour in neighbours)
        for term in self._exact[key]:
            same = not term.words or term.words in (bare, (*bare[:-1], bare[-1].removesuffix("s")))
            if same and not (term.possessive and bare[-1] == written[-1]) and not (term.wary and capitals):
                return term
        return None

    def _fold(self, pieces: Sequence[str]) -> list[str]:
        """Return the words and the gaps between them, folded; `pieces` are gap, word, gap, ..., word, gap."""
        folded = [""] * (len(pieces) - 2)
        folded[::2] = map(self._words.__getitem__, pieces[1::2])
        folded[1::2] = map(self._gaps.__getitem__, pieces[2:-1:2])
        return folded

    def _add(self, term: Term, same: dict[tuple[int, ...], tuple[int, ...]]) -> None:
        pieces = WORD.split(term.text)
        written, around = pieces[1::2], pieces[0] + pieces[-1]
        if not written or (around and not _MARKS.issuperset("".join(around.split()))):
            return
        folded = self._fold(pieces)
        key, last = "".join(folded), written[-1]
        possessive = strip_possessive(last) != last
        form = tuple(map(strip_possessive, written)) if self._is_acronym(written) else ()
        if sum(map(len, written)) < (2 if form else self._shortest) or (form or key) in self._stopped:
            return
        if form or possessive:
            exact = _Exact(term.label, form, possessive, key in self._stopped)
            known = self._exact.get(key, ())
            if all(other[1:] != exact[1:] for other in known):
                self._exact[key] = tuple(sorted((*known, exact), key=lambda term: not term.possessive))
        else:
            self._plain.setdefault(key, term.label)
        self._first.add(folded[0])
        if len(written) > 1:
            pair = "".join(folded[:3])
            counts = self._counts.get(pair, _ALONE)
            if len(written) not in counts:
                more = tuple(sorted({*counts, len(written)}, reverse=True))
                self._counts[pair] = same.setdefault(more, more)

    def _stop_key(self, term: str) -> str | tuple[str, ...]:
        """Return the words of an acronym, the folded key of any other term."""
        pieces = WORD.split(term)
        return tuple(pieces[1::2]) if self._is_acronym(pieces[1::2]) else "".join(self._fold(pieces))

    def _is_acronym(self, words: Sequence[str]) -> bool:
        written = "".join(words) if words[0].upper() == words[0] else ""
        return written.isupper() and sum(map(str.isalpha, written)) <= self._acronym


@final
class _Cache(dict[str, str]):
    """A bounded cache of folded forms."""

    def __init__(self, fold: Callable[[str], str]) -> None:
        self._fold = fold

    def __missing__(self, written: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[written] = folded = self._fold(written)
        return folded


def _with_brackets(text: str, start: int, end: int, least: int) -> tuple[int, int]:
    """Return the edges, extended by an adjacent bracket whose other half is inside, but not before `least`."""
    for opening, closing in _BRACKETS:
        depth = text.count(opening, start, end) - text.count(closing, start, end)
        before = text[least:start].rstrip() if depth < 0 else ""
        after = _SPACE.match(text, end) if depth > 0 else None
        if before.endswith(opening):
            start = least + len(before) - 1
        if after and text.startswith(closing, after.end()):
            end = after.end() + 1
    return start, end
