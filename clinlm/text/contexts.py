"""Words with their neighbours, as texts that models of terms read."""

import re
from collections.abc import Iterator
from typing import Final

from clinlm.text.words import Words

REACH: Final = 2
"""Neighbours of a word on each side."""

_HIDDEN = re.compile(r"\W")
_RUNS = re.compile(r"(.)\1+")


def contexts(text: str, words: Words) -> list[str]:
    """Return every word with its neighbours, as terms that `TfidfBaseline` reads.

    Of the word: itself, its shape (upper case, lower case, digit, other; runs as one), its first and its last 2, 3 and
    4 characters. Of the two words before and after: themselves, and the shape of the nearest. The first characters of a
    term name its kind; only shapes keep case. Adjacent terms are meaningful pairs: the word with its neighbours.

    Returns:
        One string per word, terms separated by spaces.
    """
    forms = [text[start:end] for start, end in words.tolist()]
    lower = ["", ""] + [_plain(form.lower()) for form in forms] + ["", ""]
    shapes = ["", *map(_shape, forms), ""]
    return [
        " ".join(_terms(lower[place : place + 2 * REACH + 1], shapes[place : place + 3])) for place in range(len(forms))
    ]


def _terms(lower: list[str], shapes: list[str]) -> Iterator[str]:
    for side, word in zip("abcde", lower, strict=True):
        yield f"{side}_{word}"
    for side, shape in zip("bcd", shapes, strict=True):
        yield f"{side}s_{shape}"
    word = lower[REACH]
    for length in (2, 3, 4):
        yield f"p{length}_{word[:length]}"
    for length in (2, 3, 4):
        yield f"e{length}_{word[-length:]}"


def _plain(word: str) -> str:
    """Return the word with escapes for characters at which the baseline splits terms."""
    return _HIDDEN.sub(lambda found: f"u{ord(found[0]):x}", word)


def _shape(word: str) -> str:
    # Lower-cased later: so letters that differ in more than case.
    kinds = ("u" if c.isupper() else "l" if c.isalpha() else "d" if c.isdecimal() else "o" for c in word)
    return _RUNS.sub(r"\1", "".join(kinds))
