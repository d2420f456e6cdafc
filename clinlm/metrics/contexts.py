"""A pseudo-document for every word of a text, so that the TF-IDF baseline can tag words."""

import re
from collections.abc import Iterator

from clinlm.text.words import Words

REACH = 2
"""Neighbours told on each side."""

_HIDDEN = re.compile(r"\W")
_RUNS = re.compile(r"(.)\1+")


def contexts(text: str, words: Words) -> list[str]:
    """Return what stands at and around every word, as terms that `TfidfBaseline` reads.

    Of the word: itself, its shape (upper case, lower case, digit, other; runs as one), its first and its last 2, 3 and
    4 characters. Of the two words before and the two behind: themselves, and of the nearest the shape. Every term says
    which of these it is by its first characters; case stands in shapes only. Terms side by side mean something as pairs
    as well: the word with the one before, and with the one behind.

    Args:
        text: a note.
        words: of the text.

    Returns:
        One string per word, terms parted by spaces.
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
    """Return a word of characters that no term is parted at."""
    return _HIDDEN.sub(lambda found: f"u{ord(found[0]):x}", word)


def _shape(word: str) -> str:
    # Lower-cased later: so letters that differ in more than case.
    kinds = ("u" if one.isupper() else "l" if one.isalpha() else "d" if one.isdecimal() else "o" for one in word)
    return _RUNS.sub(r"\1", "".join(kinds))
