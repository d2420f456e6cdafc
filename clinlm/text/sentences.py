"""Splits clinical notes into sentences: by lines and headers first, then by spaCy's rules."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

from clinlm.config.extras import imported
from clinlm.text.normalization import HEADER

_WRAPPED_CHARACTERS = 60
"""Shorter lines were ended by the author; longer lines may have been wrapped by software (MIMIC-III: at about 80)."""

_BULLET = re.compile(r"(?:[-*•#>]+\s+|\(?\d{1,2}[.)](?:\s+|(?=[^\W\d])))")
_DENIALS = "denie[sd]|denying|without|negative for|neg for|no evidence of|no signs? of"
_BEFORE_NO = "and|but|with|has|had|is|was|are|were|reports?"
_OPEN_END = re.compile(
    rf",$|\b(?:and|or|nor)$|(?<![:=?-] )\b(?:{_DENIALS})$|(?:^|[,;] |\b(?:{_BEFORE_NO}) )no$", re.IGNORECASE
)
"""Matches the end of a line that goes on in the next: at a comma, at a conjunction, or after words that deny it."""
_REPLY = re.compile(r"(?:yes|no|none|denie[sd]|negative|positive)\b\.?", re.IGNORECASE)
_ABBREVIATIONS = (
    "pt. pts. dr. mr. mrs. ms. vs. approx. dept. hosp. hx. dx. rx. sx. tx. "
    "q.d. b.i.d. t.i.d. q.i.d. p.o. p.r.n. i.v. i.m. h.s. a.c. p.c."
)
"""Their full stops end no sentence, in addition to spaCy's own list."""


class Sentence(NamedTuple):
    """A sentence, with single spaces, and the header of its section (empty before the first)."""

    section: str
    text: str


@cache
def english() -> Any:
    """Return spaCy's rule-based English: tokenizer and sentencizer, without a trained model or download.

    Raises:
        MissingExtraError: spaCy is not installed.
    """
    language = imported("spacy", "symptoms").blank("en")
    language.add_pipe("sentencizer")
    for short in _ABBREVIATIONS.split():
        for form in {short, short.upper(), short.capitalize()}:
            language.tokenizer.add_special_case(form, [{"ORTH": form}])
    return language


def sentences(notes: Iterable[str]) -> Iterator[list[Sentence]]:
    """Yield the sentences of every note.

    A line ends a sentence, unless it looks wrapped (at least 60 characters long, without a mark at its end) or goes on
    (`_OPEN_END`: "denies fever,", "chills or"), and is not followed by a header or bullet. The joined lines are then
    split by spaCy's sentencizer.
    """
    language = english()
    for note in notes:
        found = []
        for section, text in _blocks(note):
            found += [Sentence(section, text) for text in _cut(language(text).sents)]
        yield found


def _cut(spans: Iterable[Any]) -> list[str]:
    """Return the texts of spaCy's sentences without bullets and item numbers.

    A text without letters joins the next: spaCy splits after an item number; with it, "1. Gout" and "2. Gout" would
    differ and could be in two splits. A reply joins its question: "Fever? No."
    """
    found: list[str] = []
    waiting = ""
    for span in spans:
        waiting = f"{waiting} {span.text}".strip()
        if found and found[-1].endswith("?") and _REPLY.fullmatch(waiting):
            found[-1] += f" {waiting}"
            waiting = ""
        elif any(character.isalpha() for character in waiting):
            bullet = _BULLET.match(waiting)
            found.append(waiting[bullet.end() :] if bullet else waiting)
            waiting = ""
    return [*found, waiting] if waiting else found


def _blocks(note: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a note, wrapped ones joined, each with the header of its section."""
    section, block = "", ""
    for line in (" ".join(line.split()) for line in note.splitlines()):
        header = HEADER.match(line)
        wrapped = len(block.rpartition("\n")[2]) >= _WRAPPED_CHARACTERS and block[-1] not in ".?!:;"
        if line and (wrapped or _OPEN_END.search(block)) and not header and not _BULLET.match(line):
            block += f"\n{line}"
            continue
        if block:
            yield section, block.replace("\n", " ")
        section, block = header["name"].strip() if header else section, line
    if block:
        yield section, block.replace("\n", " ")
