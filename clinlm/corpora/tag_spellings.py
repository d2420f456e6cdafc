"""Spellings of tags: B-X, B_X, B:X, X-B, b-x and more, outside as O, o or OTHER; read where they are certain."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple, final

from clinlm.config.errors import DataError
from clinlm.corpora.tag_schemes import UNNAMED, Tag

OUTSIDE = Tag("O", "")

_OUTSIDE = frozenset({"o", "other", "out", "outside", "none", "null", "nan", "0", "_", "-", "–"})
"""What files without O write outside of entities, in lower case."""

_LETTERS, _SEPARATORS = "BIESLUM", "-_:–—/."
_SHOWN = "tags must be O, B-LABEL, I-LABEL and so on, or labels alone"


@final
class _Spelling(NamedTuple):
    """A way to write a tag.

    Attributes:
        pattern: of the whole tag, with the groups `letter` and, where tags have labels, `label`.
    """

    pattern: re.Pattern[str]

    def parse(self, tag: str) -> Tag | None:
        found = self.pattern.fullmatch(tag)
        return found and Tag(found["letter"].upper(), self.label(tag) or UNNAMED)

    def label(self, tag: str) -> str:
        """Return the label of a tag that has this spelling, "" for none."""
        found = self.pattern.fullmatch(tag)
        return (found and found.groupdict().get("label")) or ""


_STANDARD = _Spelling(re.compile(rf"(?P<letter>[{_LETTERS}])(?:-(?P<label>.*))?"))
_OTHERS = (
    *(_Spelling(re.compile(rf"(?i:(?P<letter>[{_LETTERS}]))(?:{re.escape(s)}(?P<label>.+))")) for s in _SEPARATORS),
    *(_Spelling(re.compile(rf"(?P<label>.+){re.escape(s)}(?i:(?P<letter>[{_LETTERS}]))")) for s in _SEPARATORS),
    _Spelling(re.compile(rf"(?i:(?P<letter>[{_LETTERS}]))(?:[{_SEPARATORS}])?")),
)


def is_tag(text: str) -> bool:
    """Return whether a text is O or a tag with a prefix, in the usual spelling."""
    return text == "O" or _STANDARD.parse(text) is not None


def read_tags(places: Mapping[str, str], prefixed: bool | None) -> dict[str, tuple[Tag, ...]]:
    """Return the tags that each text of a column stands for; several for one with vertical bars (B-X|B-Y).

    All texts must have one spelling. B-X needs no proof. Another spelling is certain if it fits all texts and a label
    has several prefixes (B_X and I_X): B_X alone may be a label. Texts that fit no spelling are labels alone.

    Args:
        places: every text of the column -> where it is first, for messages, which never show labels.
        prefixed: whether tags have prefixes; None if their texts must tell.

    Raises:
        DataError: two spellings are mixed, or a spelling is not certain.
    """
    outside = _outside(places)
    inside = [text for text in places if text not in outside]
    parts = {part: places[text] for text in inside for part in _parts(text)}
    spelling = _spelling(parts, prefixed)
    if spelling is None:
        found: dict[str, tuple[Tag, ...]] = {text: (Tag("", text),) for text in inside}
    else:
        found = {text: tuple(_parsed(spelling, part) for part in dict.fromkeys(_parts(text))) for text in inside}
        _require_one_kind_of_label(parts, spelling)
    for text, tags in found.items():
        if len({tag.label for tag in tags}) < len(tags):
            raise DataError(f"a token must have one tag per label, got two in {places[text]}; repair it")
    return found | {text: (OUTSIDE,) for text in outside}


def _outside(places: Mapping[str, str]) -> set[str]:
    """Return the texts that mean that there is no entity."""
    usual = {"O", "o"} & places.keys()
    if usual:
        return usual
    found = [text for text in places if text.lower() in _OUTSIDE]
    if len({text.lower() for text in found}) > 1:
        first, second, *_ = found
        raise DataError(
            f"tags outside of entities must have one spelling, got {first!r} in {places[first]} and {second!r} in "
            f"{places[second]}; write O"
        )
    return set(found)


def _spelling(parts: Mapping[str, str], prefixed: bool | None) -> _Spelling | None:
    """Return the spelling of all parts; None for labels alone."""
    standard = {part for part in parts if _STANDARD.parse(part)}
    if len(standard) == len(parts):
        return _STANDARD
    if prefixed is False:
        return None
    told = prefixed is not None
    fits = {spelling: [part for part in parts if spelling.parse(part)] for spelling in _OTHERS}
    whole = [spelling for spelling, own in fits.items() if len(own) == len(parts)]
    certain = [spelling for spelling in whole if told or _is_proven(spelling, parts)]
    if len(certain) == 1:
        return certain[0]
    proven = [spelling for spelling, own in fits.items() if not told and _is_proven(spelling, own)]
    if whole:
        first = next(iter(parts))
        raise DataError(
            f"{_SHOWN}, got {_shape(whole[0], first)} in {parts[first]}, which may have a prefix or be a label; set "
            "scheme to io if it is a label, or to the scheme of its prefixes"
        )
    if standard or told or proven:
        usual = [_STANDARD] if standard else proven
        strange = next(part for part in parts if not any(spelling.parse(part) for spelling in usual))
        told_as = next((_shape(spelling, strange) for spelling in _OTHERS if spelling.parse(strange)), "")
        shown = told_as or (repr(strange) if strange.lower() in _OUTSIDE else "one without prefix")
        raise DataError(f"{_SHOWN}, got both: {shown} in {parts[strange]}; set tag to the column of tags, or repair it")
    return None


def _is_proven(spelling: _Spelling, parts: Iterable[str]) -> bool:
    """Return whether a label has several prefixes."""
    letters: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        tag = spelling.parse(part)
        if tag is not None:
            letters[tag.label].add(tag.prefix)
    return any(len(own) > 1 for own in letters.values())


def _require_one_kind_of_label(parts: Mapping[str, str], spelling: _Spelling) -> None:
    """Check that all tags have a label, or none."""
    bare = [part for part in parts if not spelling.label(part)]
    if bare and len(bare) < len(parts):
        raise DataError(
            f"tags must all have a label, or none, got {bare[0]!r} without one in {parts[bare[0]]}; repair it"
        )


def _parsed(spelling: _Spelling, part: str) -> Tag:
    tag = spelling.parse(part)
    assert tag is not None, "the spelling fits all parts"
    return tag


@cache
def _parts(text: str) -> tuple[str, ...]:
    """Return the tags that a text lists with vertical bars."""
    found = tuple(text.split("|"))
    return found if all(found) else (text,)


def _shape(spelling: _Spelling, text: str) -> str:
    """Return a tag with its label left out, as a column of tags set wrongly may hold words of notes."""
    found = spelling.pattern.fullmatch(text)
    if found is None or "label" not in found.groupdict():
        return repr(text) if found else "a tag"
    return repr(text[: found.start("label")] + "…" + text[found.end("label") :])
