"""Tagging schemes of entities: IOB1, IOB2 (BIO), IOBES, BILOU, BMES and IO."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from clinlm.config.errors import DataError

Scheme = Literal["io", "iob1", "iob2", "iobes", "bilou", "bmes"]
SCHEMES: Mapping[Scheme, str] = {
    "io": "I",
    "iob1": "BI",
    "iob2": "BI",
    "iobes": "BIES",
    "bilou": "BILU",
    "bmes": "BMES",
}
"""The prefixes of each scheme, besides O."""

UNNAMED = "ENTITY"
"""The label of entities if tags are B, I and O alone."""

_TAG = re.compile(r"([BIESLUM])(?:-(.+))?")
_PLAIN = {"L": "E", "U": "S", "M": "I"}
"""BILOU and BMES in the letters of IOBES."""


class Tag(NamedTuple):
    """A tag: its prefix (a letter of `SCHEMES`, O, or "" if the tag is a label alone) and its label."""

    prefix: str
    label: str


class TokenSpan(NamedTuple):
    """An entity: its first and last token, both inclusive, and its label."""

    first: int
    last: int
    label: str


@cache
def parse_tag(tag: str) -> Tag:
    """Parse a tag: "B-X" is B and X, "O" is O, "B" is B and `UNNAMED`, anything else is a label alone."""
    if tag == "O":
        return Tag("O", "")
    found = _TAG.fullmatch(tag)
    return Tag(found[1], found[2] or UNNAMED) if found else Tag("", tag)


def recognize_scheme(sentences: Iterable[Sequence[Tag]]) -> Scheme:
    """Detect the scheme of a corpus by its prefixes.

    IOB1 and IOB2 have the same prefixes. In IOB1 a B only follows an entity of the same label directly, so a B
    elsewhere means IOB2, and so does the absence of an I that begins an entity; tags that fit neither are read as IOB2
    with broken tags.

    Raises:
        DataError: the prefixes fit no scheme.
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
            raise DataError("tags must all have a prefix, such as B-X and I-X, or all be labels alone, got both")
        return "io"
    prefixes -= {"O"}
    if prefixes == {"I"}:
        return "io"
    if prefixes <= {"B", "I"}:
        return "iob1" if broken_i and not first_b else "iob2"
    for scheme, letters in SCHEMES.items():
        if prefixes <= set(letters):
            return scheme
    raise DataError(f"prefixes must be of {', '.join(SCHEMES.values())}, got {''.join(sorted(prefixes))}")


def find_entities(tags: Sequence[Tag], scheme: Scheme) -> tuple[list[TokenSpan], int]:
    """Find the entities of a sentence as conlleval does, with one rule for all schemes.

    An entity begins at B or S, after O, E or S, and where the label changes; it ends before the next one and before O.
    So an I-X that follows O or another label begins an entity, and an entity may end without an E.

    Source: conlleval.py of the CoNLL-2000 and 2003 shared tasks (`startOfChunk`, `endOfChunk`).

    Returns:
        the entities, ascending; and the number of tags that break the scheme: in `iob2` an I that begins an entity; in
        `iob1` a B that does not follow an entity of its label; in the others an I or E (M, L) that begins an entity,
        and a B or I (M) that ends one. In `io` no tag can.
    """
    found: list[TokenSpan] = []
    broken = 0
    before = Tag("O", "")
    for place, raw in enumerate(tags):
        if raw.prefix == before.prefix == "O":
            continue  # most tokens: a corpus has hundreds of thousands
        tag = Tag(_PLAIN.get(raw.prefix, raw.prefix or "I"), raw.label)
        begins = tag.prefix != "O" and (tag.prefix in "BS" or before.prefix in "OES" or before.label != tag.label)
        broken += _breaks(before, tag, begins, scheme)
        if begins:
            found.append(TokenSpan(place, place, tag.label))
        elif tag.prefix != "O":
            found[-1] = found[-1]._replace(last=place)
        before = tag
    return found, broken + _breaks(before, Tag("O", ""), False, scheme)


def _breaks(before: Tag, tag: Tag, begins: bool, scheme: Scheme) -> int:
    """Return how many tags of a pair break the scheme: the second by how it begins, the first by how it ends."""
    if scheme == "io":
        return 0
    if scheme == "iob1":
        return int(tag.prefix == "B" and (before.prefix == "O" or before.label != tag.label))
    wrong = int(begins and tag.prefix in "IE")
    if scheme != "iob2":
        wrong += int(before.prefix in "BI" and (begins or tag.prefix == "O"))
    return wrong
