"""Tags of tokens that say where entities are: IOB1, IOB2 (BIO), IOBES, BILOU, BMES and IO."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

Scheme = Literal["io", "iob1", "iob2", "iobes", "bilou", "bmes"]
SCHEMES: Mapping[Scheme, str] = {
    "io": "I",
    "iob1": "BI",
    "iob2": "BI",
    "iobes": "BIES",
    "bilou": "BILU",
    "bmes": "BMES",
}
"""The prefixes of each scheme, beside O."""

UNNAMED = "ENTITY"
"""The label of entities where tags are B, I and O alone."""

_TAG = re.compile(r"([BIESLUM])(?:-(.+))?")
_PLAIN = {"L": "E", "U": "S", "M": "I"}
"""BILOU and BMES in the letters of IOBES."""


class Tag(NamedTuple):
    """A tag taken apart: a letter of `SCHEMES`, O, or "" where the tag is a label alone; and the label."""

    prefix: str
    label: str


class TokenSpan(NamedTuple):
    """An entity: its first and last token, both inclusive, and its label."""

    first: int
    last: int
    label: str


@cache
def parse_tag(tag: str) -> Tag:
    """Take a tag apart: "B-X" is B and X, "O" is O, "B" is B and `UNNAMED`, anything else is a label alone."""
    if tag == "O":
        return Tag("O", "")
    found = _TAG.fullmatch(tag)
    return Tag(found[1], found[2] or UNNAMED) if found else Tag("", tag)


def recognize_scheme(sentences: Iterable[Sequence[Tag]]) -> Scheme:
    """Find the scheme of a corpus by the prefixes that it uses.

    IOB1 and IOB2 have the same ones. In IOB1 a B stands only right after an entity of the same label, so one B
    elsewhere makes it IOB2, and so does having no I that begins an entity; tags that are neither are IOB2 with broken
    tags.

    Raises:
        ValueError: the prefixes are of no scheme.
    """
    prefixes: set[str] = set()
    first_b = broken_i = False
    for tags in sentences:
        prefixes |= {tag.prefix for tag in tags}
        before = Tag("O", "")
        for tag in tags:
            same = before.prefix != "O" and before.label == tag.label
            first_b |= tag.prefix == "B" and not same
            broken_i |= tag.prefix == "I" and not same
            before = tag
    if "" in prefixes:
        if prefixes != {"", "O"}:
            raise ValueError("tags either have a prefix, as B-X and I-X, or are labels alone beside O")
        return "io"
    prefixes -= {"O"}
    if prefixes == {"I"}:
        return "io"
    if prefixes <= {"B", "I"}:
        return "iob1" if broken_i and not first_b else "iob2"
    for scheme, letters in SCHEMES.items():
        if prefixes <= set(letters):
            return scheme
    raise ValueError(f"the prefixes of a scheme are {', '.join(SCHEMES.values())}; {''.join(sorted(prefixes))} came")


def find_entities(tags: Sequence[Tag], scheme: Scheme) -> tuple[list[TokenSpan], int]:
    """Find the entities of a sentence as conlleval does, which reads all schemes by one rule.

    An entity begins at B or S, after O, E or S, and where the label changes; it ends before the next one and before O.
    So an I-X that follows O or another label begins an entity, and an entity without its E ends where the tags end it.

    Source: conlleval.py of the CoNLL-2000 and 2003 shared tasks (`startOfChunk`, `endOfChunk`). It counts nothing.

    Returns:
        the entities, ascending; and how many tags break the scheme: in `iob2` an I that begins; in `iob1` a B that
        begins after no entity of its label; in the others an I or E (M, L) that begins, and a B or I (M) that nothing
        of the same entity follows. In `io` nothing can.
    """
    found: list[TokenSpan] = []
    broken = 0
    before = Tag("O", "")
    for place, one in enumerate(tags):
        if one.prefix == before.prefix == "O":
            continue  # most tokens: a corpus has hundreds of thousands
        tag = Tag(_PLAIN.get(one.prefix, one.prefix or "I"), one.label)
        begins = tag.prefix != "O" and (tag.prefix in "BS" or before.prefix in "OES" or before.label != tag.label)
        broken += _breaks(before, tag, begins, scheme)
        if begins:
            found.append(TokenSpan(place, place, tag.label))
        elif tag.prefix != "O":
            found[-1] = found[-1]._replace(last=place)
        before = tag
    return found, broken + _breaks(before, Tag("O", ""), False, scheme)


def _breaks(before: Tag, tag: Tag, begins: bool, scheme: Scheme) -> int:
    """How many tags the scheme forbids where one follows another: the second as it begins, the first as it ends."""
    if scheme == "io":
        return 0
    if scheme == "iob1":
        return int(tag.prefix == "B" and (before.prefix == "O" or before.label != tag.label))
    wrong = int(begins and tag.prefix in "IE")
    if scheme != "iob2":
        wrong += int(before.prefix in "BI" and (begins or tag.prefix == "O"))
    return wrong
