"""Folding of word forms, by which texts and terms are compared."""

import re
import unicodedata

_JOINED = "".join(
    re.escape(character)
    for character in map(chr, range(0x10000))
    if unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") and character != "\u200b"
)
"""Combining and format characters, part of the word around them. A zero width space separates words."""

_LETTERS = rf"[^\W_][^\W_{_JOINED}]*(?:[{_JOINED}]+[^\W_]*)*"
_OWNER = r"\s?['\u2019\u02bc]\s?[sS](?![^\W_])"

WORD = re.compile(rf"({_LETTERS}(?:{_OWNER})?)")
"""A word: a run of letters and digits, and the 's of a possessive with it, whatever apostrophe and white space."""

_POSSESSIVE = re.compile(rf"{_OWNER}\Z")
_IGNORED = re.compile(rf"[{_JOINED}]")
_BREAK = re.compile(r"\n\s*(?:\n|[-\u2010-\u2013\u2212])")
_BLANK = re.compile(r"[\s\u200b\-\u2010-\u2013\u2212'\u2019\u02bc]")
_BRITISH = re.compile(r"(?<=.)[ao]e(?=..)|^oe(?=d)")
_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ω": "omega"}


def strip_possessive(word: str) -> str:
    """Return a match of `WORD` without the 's of a possessive."""
    return _POSSESSIVE.sub("", word) if word[-1:] in "sS" else word


def fold_word(word: str) -> str:
    """Return the common form of all forms of a word.

    In this order: the 's of a possessive is removed; case, accents, ligatures and soft hyphens are removed; a Greek
    letter by itself becomes its name; then, from words of letters only, endings are removed:

    - ies and ie become y, if at least three letters precede (biopsies, biopsy);
    - es, is and e are removed if four letters remain (rashes, rash; metastasis, metastases; headaches, headache), else
      s is removed if three letters remain (tics, tic);
    - ss and us stay (abscess, virus), so that abscesses and viruses match them.

    Last, British spelling is replaced in words that still have six letters: ae and oe within a word become e (anaemia),
    oed at its beginning becomes ed (oedema), our at its end becomes or (tumour).

    Source: the S-stemmer of Harman 1991 ("How effective is suffixing?", JASIS 42(1)), changed so that -es, -is and
    -sis match. It is applied to both sides, so a plural term matches the singular in the text, too.
    """
    bare = strip_possessive(word).casefold()
    if not bare.isascii():
        plain = unicodedata.normalize("NFKD", _GREEK.get(bare, bare))
        bare = _IGNORED.sub("", plain).casefold()
    return _american(_stem(bare)) if len(bare) > 3 and bare.isalpha() else bare


def fold_gap(gap: str) -> str:
    """Return the common form of the characters between two words: a space, or other marks.

    White space, hyphens and apostrophes become one space, and are ignored next to other marks. A blank line, or a line
    that begins with a hyphen, becomes a line feed, which no term contains.
    """
    if _BREAK.search(gap):
        return "\n"
    return _IGNORED.sub("", _BLANK.sub("", gap)) or " "


def _stem(word: str) -> str:
    letters = len(word)
    if word.endswith(("ss", "us")):
        return word
    for ending, put, least in (("ies", "y", 3), ("ie", "y", 3), ("es", "", 4), ("is", "", 4), ("e", "", 4)):
        if word.endswith(ending) and letters - len(ending) >= least:
            return word[: -len(ending)] + put
    return word[:-1] if word.endswith("s") else word


def _american(word: str) -> str:
    if len(word) < 6:
        return word
    plain = _BRITISH.sub("e", word)
    return plain[:-3] + "or" if plain.endswith("our") else plain
